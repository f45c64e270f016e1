# One obvious command for each thing. Everything runs in .venv, installed from the locked requirements with hashes.
PYTHON ?= python3
BIN := .venv/bin
EXAMPLE ?= examples/ward-infusion-over-the-limit.json
WORKERS_OF_TESTS ?= auto
MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help tools spark peers scaling replay sandbox site run quick test timing lint burden bench candidate oracle elm docs lock clean soak losses fuzz hostile disguises offers conformance pin sbom audit

help: ## list the targets with what each does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: .venv/run ## start the service on http://127.0.0.1:8000 and fire one example at it
	@KETAMINE_CDS_SANDBOX=$${KETAMINE_CDS_SANDBOX-loopback} $(BIN)/ketamine-cds serve --example $(EXAMPLE)

test: .venv/dev ## install and run all tests but those whose verdict is a time
	@$(BIN)/pytest -q -n $(WORKERS_OF_TESTS) --dist loadfile

QUICK := tests/scenarios/test_scenarios.py tests/properties tests/protocol tests/test_units.py tests/test_quantities.py tests/orders tests/rules tests/cards
quick: .venv/dev ## in about two minutes, while you work: scenarios, properties on a few examples, units, orders, rules, protocol
	@KETAMINE_TEST_MOST_EXAMPLES=5 $(BIN)/pytest -q -n $(WORKERS_OF_TESTS) --dist load $(QUICK) \
		--ignore=tests/properties/test_growth.py --ignore=tests/properties/test_disguise.py

timing: .venv/dev ## the tests whose verdict is a time, one after the other on a machine that does nothing else
	@$(BIN)/pytest -q -n0 -m timing

lint: .venv/dev ## formatting, lint, types, and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

burden: .venv/dev ## how often ordinary, right orders are interrupted, as a table (EACH=--each names the orders)
	@$(BIN)/python -m tests.burden.table $(EACH)

bench: .venv/dev ## compare with a no-op route in one run, and measure the fallback and growing charts
	$(BIN)/python -m bench.run

peers: .venv/dev .venv-peers/made ## the same beside another project's service, engines that run the CQL and an earlier commit, kept for docs/performance.md (JDK, Node.js)
	$(BIN)/python -m bench.run --peers --keep
	$(BIN)/python -m bench.cql --keep
	$(BIN)/python -m bench.before 1f5f340 --keep

candidate: .venv/dev ## what a candidate in shadow costs an answer, with and without it in turn
	@$(BIN)/python -m bench.candidate

soak: .venv/dev ## mixed load at half of the maximum for MINUTES, with errors, times and memory for each
	$(BIN)/python -m bench.soak --minutes $(MINUTES)

losses: .venv/dev ## kill and stop workers and the parent under load: what is lost, and how soon it goes on
	@$(BIN)/python -m bench.losses

scaling: .venv/dev ## what a call costs through nginx, with tokens and a shared PostgreSQL: calls per core and second
	@$(BIN)/python -m bench.scaling

replay: .venv/dev ## what a replay costs at several sizes, and by which law that grows (SIZES: other options, half an hour)
	@$(BIN)/python -m bench.replay $(SIZES)

fuzz: .venv/dev ## 200,000 mutated requests and more; nothing may fail, hang or grow
	$(BIN)/python -m tests.fuzz.run

hostile: .venv/dev ## what requests cost that are made to cost much, and an ordinary order beside each (FILES: more of them)
	@$(BIN)/python -m tests.hostile $(FILES)

offers: .venv/dev ## the first offer of ten thousand generated orders, taken and judged again (some minutes)
	@KETAMINE_TEST_PROPERTY_EXAMPLES=10000 $(BIN)/pytest -q -n0 tests/properties/test_first_offer.py

disguises: .venv/dev ## every entry that fires a rule, in every disguise: never an answer without a card (some minutes)
	@KETAMINE_TEST_DISGUISES=all $(BIN)/pytest -q -n0 -s tests/properties/test_disguise.py

conformance: .venv/dev ## CDS Hooks 2.0 against this service, or against URL (with REQUESTS, KEY and ISSUER)
	@$(if $(URL),KETAMINE_TEST_CONFORMANCE_URL='$(URL)') $(if $(REQUESTS),KETAMINE_TEST_CONFORMANCE_REQUESTS='$(REQUESTS)') \
	$(if $(KEY),KETAMINE_TEST_CONFORMANCE_KEY='$(KEY)') $(if $(ISSUER),KETAMINE_TEST_CONFORMANCE_ISSUER='$(ISSUER)') \
	$(BIN)/pytest -q -n0 -p no:cacheprovider $(patsubst %,tests/conformance/test_%.py,discovery calls cards trust)

sandbox: .venv/dev ## the service on real FHIR servers, or on the R4 server at URL, which is only read (WRITE=1: written to as well)
	@$(if $(URL),KETAMINE_TEST_SANDBOX_URL='$(URL)') $(if $(WRITE),KETAMINE_TEST_SANDBOX_ALLOW_WRITE='$(WRITE)') \
	$(BIN)/pytest -q -n0 -p no:cacheprovider tests/sandbox

oracle: .venv/dev ## the published CQL in engines that nobody here wrote, on every case, as a table (JDK and Node.js; ten minutes once, then three)
	@$(BIN)/python -m tests.oracle

elm: .venv/dev ## the protocol (with a site's OVERLAY) as CQL with ELM beside it, into build/cql (needs a JDK; a minute)
	@$(BIN)/python -m tests.oracle.elm build/cql $(OVERLAY)

docs: .venv/dev ## write the generated pages anew
	$(BIN)/python -m docs.generate

# By the tools of their own kinds: docker compose's reader, Helm, Kustomize.
TOOLS := build/tools
# kubectl has a Kustomize of its own.
tools: $(TOOLS)/compose-spec $(TOOLS)/helm $(if $(shell command -v kubectl),,$(TOOLS)/kustomize) ## install what deploy/ is checked with (needs Go 1.26, some minutes)

INSTALL := GOBIN=$(abspath $(TOOLS)) GOFLAGS=-trimpath go install
$(TOOLS)/compose-spec:
	@$(INSTALL) github.com/compose-spec/compose-go/v2/cmd@v2.16.2 && mv $(TOOLS)/cmd $@

$(TOOLS)/helm:
	@$(INSTALL) helm.sh/helm/v3/cmd/helm@v3.22.0

$(TOOLS)/kustomize:
	@$(INSTALL) sigs.k8s.io/kustomize/kustomize/v5@v5.7.1

spark: .venv/spark ## install Apache Spark for replay --engine spark and its tests (needs Java 17; half a gigabyte)

site: .venv/dev ## build the documentation as a site into build/site; a link or page that is wrong fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -q
lock: ## lock the dependencies anew (needs uv)
	$(LOCK) pyproject.toml --extra replay --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/run.txt
	$(LOCK) pyproject.toml --extra spark -c requirements/dev.txt -o requirements/spark.txt
	$(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt
	$(LOCK) --group supply -c requirements/dev.txt -o requirements/supply.txt
	$(LOCK) --group peers -o requirements/peers.txt

pin: ## write the digest of the base image into the Dockerfile (needs docker and a registry)
	@$(PYTHON) -m supply.pin

sbom: .venv-supply/made ## write sbom.json: what the service runs with, as CycloneDX
	@PYTHONWARNINGS=ignore .venv-supply/bin/cyclonedx-py requirements requirements/run.txt --pyproject pyproject.toml --mc-type application --output-reproducible --sv 1.6 --of JSON -o sbom.json
	@echo "sbom.json written"

audit: .venv-supply/made ## look for known vulnerabilities in what the service runs with (needs a network)
	@$(PYTHON) -m supply.audit .venv-supply/bin/pip-audit requirements/run.txt

clean: ## remove what the other targets made
	rm -rf .venv .venv-supply .venv-peers sbom.json build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with make PYTHON=python3.12 …"; exit 1; }
	@echo "Making .venv …"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/made requirements/run.txt requirements/build.txt pyproject.toml
	@$(BIN)/python -m supply.installing "What the service needs" --require-hashes -r requirements/run.txt -r requirements/build.txt
	@$(BIN)/python -m supply.installing "The service itself" --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: .venv/made requirements/dev.txt pyproject.toml
	@$(BIN)/python -m supply.installing "What the tests need" --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m supply.installing "The service itself" --no-deps --no-build-isolation -e .
	@touch $@ .venv/run

.venv/spark: .venv/dev requirements/spark.txt
	@$(BIN)/python -m supply.installing "Apache Spark" --no-build-isolation --require-hashes -r requirements/spark.txt
	@touch $@

# Apart from the service's own packages, which these tools look at.
.venv-%/made: requirements/%.txt
	@$(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
