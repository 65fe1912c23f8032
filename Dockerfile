# syntax=docker/dockerfile:1
# One image for every process: `serve`, `worker`, `migrate` are commands of the same program.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/shuidian
COPY requirements/serve.txt requirements/build.txt requirements/
# Packages first and by hash: this layer is made again only when the lock changes.
RUN /opt/shuidian/bin/pip install --require-hashes -r requirements/serve.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY backend backend
COPY bots bots
COPY schema schema
COPY web web
COPY workers workers
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/shuidian/bin/pip install --no-deps /dist/*.whl \
 && /opt/shuidian/bin/python -m compileall -q /opt/shuidian/lib

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/shuidian/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TZ=Asia/Shanghai
RUN groupadd --system --gid 10001 shuidian \
 && useradd --system --uid 10001 --gid shuidian --no-create-home --shell /usr/sbin/nologin shuidian
COPY --from=builder /opt/shuidian /opt/shuidian
# Business days follow Asia/Shanghai: an image without zone data must not be built.
RUN python -c "from zoneinfo import ZoneInfo; ZoneInfo('Asia/Shanghai')"
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["shuidian"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
