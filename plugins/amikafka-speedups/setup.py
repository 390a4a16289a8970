"""The part in C; what is said about the package is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "amikafka_speedups._native",
            ["src/native/envelope.c", "src/native/json.c", "src/native/module.c"],
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
    ]
)
