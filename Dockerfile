# `make pin` writes the digest beside the tag.
ARG BASE=python:3.12.12-slim-bookworm

# What builds stays here: the image that runs has neither build tools nor an installer.
FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv /opt/ketamine-cds
COPY requirements/run.txt requirements/build.txt requirements/
RUN /opt/ketamine-cds/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt \
    && pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY cds_service cds_service
COPY cards cards
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation -w /wheels . \
    && /opt/ketamine-cds/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl \
    && /opt/ketamine-cds/bin/python -m pip uninstall --yes --quiet pip

FROM ${BASE}
COPY --from=build /opt/ketamine-cds /opt/ketamine-cds
RUN useradd --system --no-create-home cds && install -d -o cds -m 0700 /state
ENV PATH=/opt/ketamine-cds/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    KETAMINE_CDS_HOST=0.0.0.0 \
    KETAMINE_CDS_STATE_DIR=/state
USER cds
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "cds_service.commands.health"]
CMD ["ketamine-cds", "serve"]
