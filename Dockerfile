# Web, worker and trainer are one image. TORCH=gpu brings CUDA along: docker compose build --build-arg TORCH=gpu
FROM python:3.11-slim AS build
ARG TORCH=auto
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY Makefile pyproject.toml requirements.lock ./
RUN make torch TORCH=${TORCH}
# The locked versions without the development tools.
RUN pip install --no-cache-dir "uv==$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)" \
    && uv pip compile pyproject.toml --constraint requirements.lock --generate-hashes --no-emit-package torch \
        --quiet -o runtime.lock \
    && uv pip install --python .venv/bin/python --no-cache --no-deps --require-hashes -r runtime.lock

FROM python:3.11-slim
RUN useradd --uid 1000 --create-home gauntlet && install -d -o gauntlet -g gauntlet /var/lib/gauntlet
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY manage.py LICENSE ./
COPY engine engine
COPY labeling_adapters labeling_adapters
COPY webapi webapi
COPY workers workers
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GAUNTLET_HOME=/var/lib/gauntlet
USER gauntlet
VOLUME /var/lib/gauntlet
EXPOSE 8000
CMD ["python", "manage.py", "serve", "--bind", "0.0.0.0"]
