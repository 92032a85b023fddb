from concurrent.futures import ThreadPoolExecutor

from cartcls.runtime.slides.pipeline import in_order


def test_results_come_in_order_and_only_a_bounded_number_waits():
    started = []
    with ThreadPoolExecutor(4) as pool:
        results = in_order(pool, lambda i: started.append(i) or i, iter(range(100)), ahead=5)
        assert next(results) == 0
        assert len(started) <= 5
        assert list(results) == list(range(1, 100))
