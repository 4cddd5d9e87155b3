# The device wing for an NVIDIA Jetson with JetPack 6, on CUDA and TensorRT: hsiedge bench, eval, classify. docker/README.md
#
#     docker build --file docker/jetson.Dockerfile --tag hsiedge:jetson --build-arg PIP_EXTRA_INDEX_URL=... .
#
# Linted, not built where it was written: neither NVIDIA's base nor its wheel could be had there. A digest in the place of the tag pins the base for good.
# NVIDIA's container of JetPack, pulled from its registry (NGC) and tagged so, or named whole with --build-arg BASE=...
ARG BASE=l4t-jetpack:r36.4.0

FROM ${BASE} AS builder
ARG EXTRAS=""
ARG VERSION=0.2.0
# NVIDIA's build of onnxruntime for JetPack 6 (Python 3.10, CUDA 12): what pip is to install, and the index that has it,
# or put its wheel into docker/wheels.
ARG ONNXRUNTIME=onnxruntime-gpu
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
# pip stays here: the environment that goes into the image is filled from outside, which takes pip 22.3.
# hadolint ignore=DL3013
RUN python3 -m venv /opt/pip && /opt/pip/bin/pip install --upgrade pip && python3 -m venv --without-pip /opt/hsiedge
WORKDIR /src
COPY docker/wheels docker/wheels
# hsiedge is a wheel in docker/wheels, never one of an index: this processor's, which has the native engine in it.
# constraints.txt is for Python 3.11. The two builds of onnxruntime install over each other: only NVIDIA's may be there.
RUN /opt/pip/bin/pip download --no-deps --no-index --find-links docker/wheels --dest own "hsiedge==${VERSION}" \
    && /opt/pip/bin/pip --python /opt/hsiedge/bin/python3 install --only-binary=:all: \
        "$(echo own/hsiedge-*.whl)${EXTRAS:+[${EXTRAS}]}" \
    && /opt/pip/bin/pip --python /opt/hsiedge/bin/python3 uninstall --yes onnxruntime \
    && /opt/pip/bin/pip --python /opt/hsiedge/bin/python3 install --only-binary=:all: --find-links docker/wheels "${ONNXRUNTIME}" \
    && test "$(/opt/hsiedge/bin/hsiedge --version)" = "hsiedge ${VERSION}" \
    && /opt/hsiedge/bin/python3 -c "from hsiedge.native.library import kernel_sets; print('native:', *kernel_sets())" \
    && /opt/hsiedge/bin/python3 -c "import hsiedge, onnxruntime as ort; assert 'TensorrtExecutionProvider' in ort.get_available_providers()"

FROM ${BASE}
ARG BASE
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="hsiedge: Jetson" \
      org.opencontainers.image.description="Hyperspectral classifiers on the device, with CUDA and TensorRT: bench, eval, classify" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}"
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
# 1000 is the first user of a Jetson, and so the owner of what is mounted; the GPU's devices belong to the group video.
RUN useradd --uid 1000 --create-home --groups video hsiedge
COPY --from=builder /opt/hsiedge /opt/hsiedge
ENV PATH=/opt/hsiedge/bin:$PATH HSIEDGE_DATA=/data
USER 1000
WORKDIR /work
ENTRYPOINT ["hsiedge"]
