# make check   static: format, lint, types, layers, mirror, names, links, sizes (make -k check: all, though one fails)
# make test    the fast set, about eight minutes
# make compiled  the tree with its hot modules compiled, in build/compiled/VERSION, for PYTHONPATH
# make demo    a chat to join by telnet
# make bench   what a request costs, beside the peers; python -m bench NAME... for some of it
# make long    what takes hours; never in CI

PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

TOOLS = check_layers check_mirror check_names check_links sizes

.PHONY: check format lint types $(TOOLS) test compiled demo bench long

check: format lint types $(TOOLS)

format:
	$(PYTHON) -m ruff format --check .

lint:
	$(PYTHON) -m ruff check .

types:
	$(PYTHON) -m mypy

$(TOOLS):
	$(PYTHON) tools/$@.py

test:
	$(PYTHON) -m pytest

# Needs setuptools>=77 and mypy in $(PYTHON). A directory for each version, since extensions are of one.
compiled:
	$(PYTHON) tools/compiled.py build/compiled/$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

demo:
	$(PYTHON) -c 'import sys; from trews.cli import main; sys.argv[0] = "trews"; sys.exit(main())' demo

bench:
	$(PYTHON) -m bench

# Every property with a hundred thousand examples, new ones on every run, and no limit of time; and an hour of fuzzing,
# which needs atheris: pip install ".[fuzz]"; and ten million requests, which needs wrk and ab.
long:
	HYPOTHESIS_PROFILE=long $(PYTHON) -m pytest --slow -o timeout=0
	$(PYTHON) -m fuzz.run --seconds 3600
	$(PYTHON) -m bench.soak
