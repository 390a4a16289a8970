"""The part in C; what is said about the package is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    license="Apache-2.0",
    ext_modules=[
        Extension(
            "amikafka_speedups._native",
            [f"src/native/{name}.c" for name in ("envelope", "eventfilter", "events", "json", "module")],
            depends=["src/native/native.h"],
            extra_compile_args=[
                "-std=c11",
                "-O3",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-Wno-missing-field-initializers",
            ],
        )
    ],
)
