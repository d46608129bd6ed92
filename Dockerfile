# One image for the proxy (`seawall`, its entry point) and the operator (`seawall-operator`). `make image` builds it, with
# docker, podman or buildah. VARIANT=translate adds what carries requests between dialects, a quarter more.

# Any Debian or Ubuntu with Python 3.11 or newer will do; the two must have the same one.
ARG BASE=python:3.13-slim-trixie
ARG BUILD_BASE=${BASE}

FROM ${BASE} AS base

FROM ${BUILD_BASE} AS build
ARG VARIANT=
# Where packages come from, for who has a mirror or an authority of their own. Neither is kept.
ARG PIP_INDEX_URL
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PYTHONNODEBUGRANGES=1
WORKDIR /src
COPY image image
# The environment has no pip of its own: what is not there need not be kept up.
RUN python3 -m venv /build \
 && /build/bin/python -m pip install --quiet --require-hashes --no-deps -r image/requirements-build.lock \
 && python3 -m venv --without-pip /opt/seawall \
 && /build/bin/python -m pip --python /opt/seawall/bin/python install --quiet --only-binary :all: --require-hashes --no-deps \
      -r image/requirements${VARIANT:+-${VARIANT}}.lock
COPY LICENSE README.md pyproject.toml ./
COPY config config
COPY proxy proxy
COPY operator operator
# Compiled here, once: the root is read-only later. What only its makers need is left out.
RUN /build/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /build/bin/python -m pip --python /opt/seawall/bin/python install --quiet --no-deps /wheel/*.whl \
 && /build/bin/python image/prune.py /opt/seawall \
 && /opt/seawall/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/seawall/lib
COPY --from=base /var/lib/dpkg/status /base-packages
RUN /build/bin/python image/sbom.py /opt/seawall /base-packages > /opt/seawall/sbom.cdx.json

FROM scratch AS sbom
COPY --from=build /opt/seawall/sbom.cdx.json /

FROM base
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="seawall" \
      org.opencontainers.image.description="Keeps agents' model and warehouse calls working while their providers fail: proxy and operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/seawall /opt/seawall
ENV PATH=/opt/seawall/bin:/usr/local/bin:/usr/bin:/bin \
    USER=seawall \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONNODEBUGRANGES=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes can tell that it is not root. It has no name, which is what USER above is for.
USER 65532:65532
WORKDIR /tmp
STOPSIGNAL SIGTERM
EXPOSE 4100 4101
# No shell stands between a signal and the process. Probes are Kubernetes' own.
ENTRYPOINT ["seawall"]
CMD ["serve"]
