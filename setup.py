"""Finds the packages: each part of `cartcls` lies at the root of the repository, under its own name."""

from setuptools import find_packages, setup

PARTS = ("calibration", "cli", "export", "runtime", "train")

setup(
    packages=[f"cartcls.{name}" for name in find_packages(include=[*PARTS, *(f"{part}.*" for part in PARTS)])],
    package_dir={f"cartcls.{part}": part for part in PARTS},
)
