# The whole toolkit for a 64-bit x86 workstation: train, compress, export, quantize, study. docker/README.md
#
#     docker build --file docker/workstation.Dockerfile --tag hsiedge:workstation --build-arg PIP_EXTRA_INDEX_URL=... .
#
# Another base has apt-get, and a python3 with venv of 3.11 to 3.13. A digest in the place of the tag pins it for good.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS builder
# tflite (TensorFlow) would double the image.
ARG EXTRAS=demo,geo,litert,study
ARG VERSION=0.2.0
# Where torch's wheel for CPUs is: without one of these, or that wheel in docker/wheels, pip brings gigabytes of CUDA.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# pip stays here: the environment that goes into the image is filled from outside.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/hsiedge
WORKDIR /src
COPY constraints.txt ./
COPY docker/wheels docker/wheels
# hsiedge is a wheel in docker/wheels, never one of an index: this processor's, which has the native engine in it.
RUN /opt/pip/bin/pip download --no-deps --no-index --find-links docker/wheels --dest own "hsiedge==${VERSION}" \
    && /opt/pip/bin/pip --python /opt/hsiedge/bin/python3 install --find-links docker/wheels --constraint constraints.txt \
        "$(echo own/hsiedge-*.whl)${EXTRAS:+[${EXTRAS}]}" \
    && test "$(/opt/hsiedge/bin/hsiedge --version)" = "hsiedge ${VERSION}" \
    && /opt/hsiedge/bin/python3 -c "from hsiedge.native.library import kernel_sets; print('native:', *kernel_sets())"

FROM ${BASE}
ARG BASE
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="hsiedge: workstation" \
      org.opencontainers.image.description="Hyperspectral classifiers for small computers: train, compress, export, quantize, study" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
# rasterio's wheel looks for this library in the system. The newest security fix of it is the right one.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --create-home hsiedge
COPY --from=builder /opt/hsiedge /opt/hsiedge
ENV PATH=/opt/hsiedge/bin:$PATH HSIEDGE_DATA=/data
USER 1000
WORKDIR /work
ENTRYPOINT ["hsiedge"]
