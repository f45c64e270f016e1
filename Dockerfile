FROM python:3.12-slim
WORKDIR /srv
COPY requirements/run.txt requirements/run.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md ./
COPY cds_service cds_service
COPY cards cards
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && useradd --system cds \
    && mkdir /state && chown cds /state
USER cds
EXPOSE 8000
CMD ["ketamine-cds", "serve"]
