"""Where there is no compiler, or no headers of Python, the package is not built and amikafka does without."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "amikafka_speedups._native",
            ["src/amikafka_speedups/_native.c"],
            extra_compile_args=["-O3", "-Wall", "-Wextra", "-Wno-missing-field-initializers"],
        )
    ]
)
