# cartcls in a container. docs/deploy.md says how to run it, and what of this was never built.
#
#     docker build --tag cartcls .                               # for any CPU
#     docker build --tag cartcls-nvidia --target nvidia .        # for an NVIDIA GPU

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY calibration calibration
COPY cli cli
COPY export export
COPY runtime runtime
COPY train train
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim AS base
COPY --from=wheel /wheels /wheels
RUN useradd --create-home --uid 1000 cartcls && install --directory --owner cartcls --group cartcls /reports /state
# Engines, and the ledger where /reports is a share. The first is minutes of work, the second every result.
ENV XDG_CACHE_HOME=/state/cache XDG_STATE_HOME=/state/ledgers
VOLUME ["/reports", "/state"]
# No HEALTHCHECK: a watch tells that it makes progress to systemd alone, and any other check would say less.
ENTRYPOINT ["cartcls"]
CMD ["--help"]

FROM base AS nvidia
# rtx: GeForce RTX and RTX workstations. tensorrt: any NVIDIA GPU, T4 to H100.
ARG EXTRA=rtx
RUN pip install --no-cache-dir "$(echo /wheels/cartcls-*.whl)[${EXTRA}]"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER cartcls

FROM base AS cpu
RUN pip install --no-cache-dir /wheels/cartcls-*.whl
USER cartcls
