# The device wing for a Raspberry Pi, or any other 64-bit ARM or x86 board: hsiedge bench, eval, classify. docker/README.md
#
#     docker build --file docker/pi.Dockerfile --tag hsiedge:pi .
#
# Another base has python3 with venv, and a glibc of 2.28 or later. A digest in the place of the tag pins it for good.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS builder
ARG EXTRAS=""
ARG VERSION=0.2.0
# Where QEMU plays the board: which core, such as cortex-a72.
ARG QEMU_CPU
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# pip stays here: the environment that goes into the image is filled from outside.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/hsiedge
WORKDIR /src
COPY constraints.txt ./
COPY docker/wheels docker/wheels
# hsiedge is a wheel in docker/wheels, never one of an index: this processor's, which has the native engine in it.
# Of what it needs, wheels alone: nothing is compiled on a board.
RUN /opt/pip/bin/pip download --no-deps --no-index --find-links docker/wheels --dest own "hsiedge==${VERSION}" \
    && /opt/pip/bin/pip --python /opt/hsiedge/bin/python3 install --only-binary=:all: \
        --constraint constraints.txt "$(echo own/hsiedge-*.whl)${EXTRAS:+[${EXTRAS}]}" \
    && test "$(/opt/hsiedge/bin/hsiedge --version)" = "hsiedge ${VERSION}" \
    && /opt/hsiedge/bin/python3 -c "from hsiedge.native.library import kernel_sets; print('native:', *kernel_sets())"

FROM ${BASE}
ARG BASE
ARG VERSION=0.2.0
ARG QEMU_CPU
LABEL org.opencontainers.image.title="hsiedge: Raspberry Pi" \
      org.opencontainers.image.description="Hyperspectral classifiers on the device: bench, eval, classify" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
# 1000 is the first user of Raspberry Pi OS, and so the owner of what is mounted.
RUN useradd --uid 1000 --create-home hsiedge
COPY --from=builder /opt/hsiedge /opt/hsiedge
ENV PATH=/opt/hsiedge/bin:$PATH HSIEDGE_DATA=/data
USER 1000
WORKDIR /work
ENTRYPOINT ["hsiedge"]
