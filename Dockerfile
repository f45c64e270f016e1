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
RUN install -d -o 10001 -g 10001 -m 0700 /state
# Only /state is written, temporary files too. To be tried it answers without a token as long as its URL is on loopback.
ENV PATH=/opt/ketamine-cds/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/state \
    KETAMINE_CDS_HOST=0.0.0.0 \
    KETAMINE_CDS_STATE_DIR=/state \
    KETAMINE_CDS_PUBLIC_URL=http://127.0.0.1:8000 \
    KETAMINE_CDS_AUTH=loopback
# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "cds_service.commands.health"]
CMD ["ketamine-cds", "serve"]
