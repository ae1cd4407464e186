"""Everything is in pyproject.toml but the compiled modules, which setuptools takes from nowhere else."""

from setuptools import setup

from compiling import arguments  # build_backend/compiling.py; the backend has put that on the path

setup(**arguments())
