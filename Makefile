# Everything generated goes to build/. `make help` lists the targets.
PYTHON ?= python3
# make 3.81, as macOS has it, runs a line without a redirection by itself, and knows no builtins.
CLANG ?= $(firstword $(shell command -v clang-16 clang 2>/dev/null))
CLANG_FORMAT ?= clang-format-16
GCC ?= gcc
BUILD := $(CURDIR)/build

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Not by two pips in one venv; what AT_ONCE tells a make below this one it may do.
ifeq ($(AT_ONCE),)
.NOTPARALLEL:
PARALLEL := -j$(CORES)
endif
.SECONDARY:   # objects are kept
.SUFFIXES:

# The venv is the interpreter's: 3.13 and 3.13t have one each.
TAG := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
VENV := $(BUILD)/venv-$(TAG)
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet
# Its groups of dependencies are in pyproject.toml; a pip that knows them is of 2025. What is never
# imported is not compiled: the rest is at its first import, into PYTHONPYCACHEPREFIX below.
GROUPS = $(PIP) --no-compile --prefer-binary
WHEEL := $(BUILD)/wheel-$(TAG)

# The same source gives the same bytes: files bear the time of the commit.
export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),1577836800)
export PYTHONPYCACHEPREFIX := $(BUILD)/pycache
export PYTHONDONTWRITEBYTECODE := # or each child of a test would compile what it imports
export RUFF_CACHE_DIR := $(BUILD)/ruff
export MYPY_CACHE_DIR := $(BUILD)/mypy

SYSTEM := $(if $(filter Darwin,$(shell uname)),macos,linux)
DEFINES := $(if $(filter macos,$(SYSTEM)),-D_DARWIN_C_SOURCE,-D_GNU_SOURCE)
STANDARD := -std=c11 $(DEFINES) -Icsrc/core -pthread
WARNINGS := -Wall -Wextra -Wconversion -Wshadow
CORE := $(wildcard csrc/core/*/*.c csrc/core/os/$(SYSTEM)/*.c)
GLUE := $(wildcard csrc/py/*.c csrc/py/*/*.c)
PRELOADED := $(if $(filter linux,$(SYSTEM)),$(wildcard csrc/run/*.c))

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | column -t -s '|'

# ---- the package --------------------------------------------------------------

.PHONY: venv wheel install demo
venv: $(VENV)/.pytest ## a venv for PYTHON with what the tests need
wheel: $(WHEEL)/.built ## build the wheel for PYTHON
install: $(VENV)/.installed ## install it into the venv

demo: install ## a key, a crash, and a search of the core file
	cd $(BUILD) && $(PY) -P -m secalloc demo

$(VENV)/.made:
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile 'setuptools>=77' 'pip>=25.1'
	touch $@

# cryptography has nothing for the free-threaded 3.13; its tests are skipped there.
TEST_GROUPS := --group test $(if $(filter 3.13t%,$(TAG)),,--group test-cryptography --group recipes --group desktop)
$(VENV)/.pytest: pyproject.toml $(VENV)/.made
	$(GROUPS) $(TEST_GROUPS)
	touch $@

# Built from a copy, so that nothing is left in the tree and nothing stale goes in.
PARTS := csrc secalloc pytest_secalloc setup.py pyproject.toml README.md LICENSE
$(WHEEL)/.built: $(wildcard $(PARTS) csrc/*/*.[ch] csrc/*/*/*.[ch] csrc/core/os/*/*.[ch] secalloc/* secalloc/*/*.py secalloc/*/*/*.py pytest_secalloc/*) $(VENV)/.made
	rm -rf $(WHEEL)
	mkdir -p $(WHEEL)/source
	cp -R $(PARTS) $(WHEEL)/source
	$(PY) -m pip wheel --quiet --no-deps --no-build-isolation -w $(WHEEL) $(WHEEL)/source
	touch $@

$(VENV)/.installed: $(WHEEL)/.built $(VENV)/.made
	$(PIP) --force-reinstall --no-deps $(WHEEL)/*.whl
	touch $@

# ---- tests --------------------------------------------------------------------

# A variant of the C tests (asan, tsan) is a directory and flags of its own.
VARIANT := plain
C := $(BUILD)/c-$(VARIANT)
DEATH := $(BUILD)/death
CFLAGS := -O1 -g
RUN :=
C_SOURCES := $(filter-out tests/core/macos/%,$(wildcard tests/core/*/test_*.c))
C_TESTS := $(addprefix $(C)/,$(basename $(notdir $(C_SOURCES))))
ifneq ($(words $(C_TESTS)),$(words $(sort $(C_TESTS))))
$(error two C tests have one name, so that one of them would not run)
endif
vpath test_%.c $(sort $(dir $(C_SOURCES))) tests/core/macos
DEATHS := $(patsubst tests/core/death/%.c,$(DEATH)/%,$(wildcard tests/core/death/*.c))
GLUE_OBJECTS := $(GLUE:csrc/py/%.c=$(C)/py/%.o)
OBJECTS := $(CORE:csrc/core/%.c=$(C)/core/%.o) $(if $(filter xnu,$(VARIANT)),$(C)/xnu.o)
COMPILE = @mkdir -p $(@D) && echo "$(CC): $< ($(VARIANT))" && $(CC) $(STANDARD) $(WARNINGS) $(CFLAGS) -Itests/core -MMD -MP

.PHONY: test test-version quick test-c test-c-aside test-python run-c ready programs
# A worker more than there are cores, as tests wait for their children.
PYTEST := -P -m pytest -n 3 --dist worksteal -o cache_dir=$(BUILD)/pytest
test: ## C tests and pytest, side by side, against the installed wheel
	+@$(MAKE) $(PARALLEL) AT_ONCE=1 ready programs
	+@$(MAKE) -j2 AT_ONCE=1 test-c-aside test-python

test-python:
	$(PY) $(PYTEST) tests $(PYTEST_ARGS)

# What they say comes in one piece, as pytest runs beside them.
test-c-aside:
	+@$(MAKE) -s test-c >$(BUILD)/test-c.log 2>&1; status=$$?; cat $(BUILD)/test-c.log; exit $$status

# What looks at the interpreter: not the C tests, nor what documents and other packages say.
VERSION := $(addprefix tests/,api channel commands process shelter)
test-version: ## of `make test` the part that another Python may change
	+@$(MAKE) $(PARALLEL) AT_ONCE=1 ready
	$(PY) $(PYTEST) $(VERSION) $(PYTEST_ARGS)

# What takes longest of both, as it tries what is left to chance, is left to `make test`.
SLOW_C := test_arena test_chain test_ct test_fatal test_fill test_fork_between test_identity test_pages test_pool \
          test_replace test_rotate test_slot
SLOW := $(addprefix api/test_,blocks.py getpass.py leaks.py limits.py pool.py sources.py stateful.py) docs/test_attacks.py
QUICK := tests/api tests/docs tests/process/test_process.py
quick: ## in under two minutes: the C tests and the part of pytest that do not take long, and lint
	+@$(MAKE) $(PARALLEL) AT_ONCE=1 ready
	+@$(MAKE) -s run-c C_TESTS='$(filter-out $(addprefix $(C)/,$(SLOW_C)),$(C_TESTS))'
	$(PY) -P -m pytest -q -o cache_dir=$(BUILD)/pytest $(QUICK) $(SLOW:%=--ignore=tests/%) $(PYTEST_ARGS)
	+@$(MAKE) -s check-lint

# One pip at a time, beside the compiler.
ready:
	+@$(MAKE) AT_ONCE= install venv

test-c: run-c ## the C tests alone
	+@$(MAKE) $(PARALLEL) AT_ONCE=1 $(DEATHS)
	$(PYTHON) tests/core/death/run.py $(DEATH)

# Compiled by parallel jobs, run one at a time: many are races, and want the cores. valgrind has one
# thread of a program run at a time, so that a core is all that it can use.
run-c: TOGETHER := 1
run-c:
	+@$(MAKE) $(PARALLEL) AT_ONCE=1 $(C_TESTS)
	@printf '%s\n' $(C_TESTS) | xargs -P $(TOGETHER) -I{} sh -c '$(RUN) {} && echo "ok: $$(basename {}) ($(VARIANT))" || exit 255'

programs: # compiled alone, for another machine to run
	+@$(MAKE) $(PARALLEL) AT_ONCE=1 $(C_TESTS) $(DEATHS)

$(C)/core/%.o: csrc/core/%.c
	$(COMPILE) -c -o $@ $<

$(C)/py/%.o: csrc/py/%.c
	$(COMPILE) -Icsrc/py -isystem $(INCLUDE) -c -o $@ $<

$(C)/test_%: test_%.c $(OBJECTS)
	$(COMPILE) -MF $@.d -o $@ $< $(OBJECTS)

$(C)/xnu.o: tests/core/macos/xnu.c
	$(COMPILE) -c -o $@ $<

$(C)/%: tests/checks/kernels/%.c $(OBJECTS)
	$(COMPILE) -MF $@.d -o $@ $< $(OBJECTS)

$(DEATH)/%: tests/core/death/%.c $(OBJECTS)
	$(COMPILE) -MF $@.d -o $@ $< $(OBJECTS)

$(BUILD)/handover/%: tests/core/handover/%.c $(OBJECTS)
	$(COMPILE) -MF $@.d -o $@ $< $(OBJECTS)

-include $(OBJECTS:.o=.d) $(GLUE_OBJECTS:.o=.d) $(C_TESTS:=.d) $(DEATHS:=.d)

# ---- the site -----------------------------------------------------------------

.PHONY: docs site check-site
docs: install $(VENV)/.docs ## the documentation as a site, in build/docs, warnings being errors
	$(PY) -P -m sphinx -W --keep-going -q -E -d $(BUILD)/doctrees docs $(BUILD)/docs
	@echo 'ok: $(BUILD)/docs/index.html'

# Of each tag that has no place there yet the site is built from its own source.
SITE := $(BUILD)/site
site: docs ## the site of all versions: /VERSION/, and latest/ for the newest release, in build/site
	@set -e; for tag in $$(git tag | $(PY) docs/versions.py --tags $(SITE)); do \
	    from=$(BUILD)/tagged/$$tag; rm -rf $$from; mkdir -p $$from; git archive $$tag | tar -x -C $$from; \
	    $(MAKE) -C $$from docs BUILD=$$from/build; $(PY) docs/versions.py $(SITE) $$from/build/docs; done
	$(PY) docs/versions.py $(SITE) $(BUILD)/docs

check-site: docs ## every page in headless Chromium: 360 to 1920 pixels, light and dark; links and anchors
	$(PY) -P tests/checks/pages.py $(BUILD)/docs $(CHROMIUM)

$(VENV)/.docs: pyproject.toml $(VENV)/.made
	$(GROUPS) --group docs
	touch $@

# ---- distribution ---------------------------------------------------------------

DIST := $(BUILD)/dist
.PHONY: cibuildwheel wheel-manylinux check-wheel check-wheels
check-sdist: $(VENV)/.made ## the sdist, which is left in build/dist: complete, offline, twice the same bytes
	$(PY) packaging/check.py $(DIST) $(BUILD)/check-sdist

cibuildwheel: $(VENV)/.made ## every wheel for this machine, each tested; wants docker on Linux
	$(GROUPS) --group cibuildwheel
	PATH=$(VENV)/bin:$$PATH cibuildwheel --output-dir $(DIST)

$(VENV)/.wheels: pyproject.toml $(VENV)/.made
	$(GROUPS) --group wheels --group cross
	touch $@

# As the package index gets it, but that zig stands for the old glibc of a container.
MACHINE := $(shell uname -m)
RAW := $(BUILD)/raw
wheel-manylinux: $(VENV)/.wheels ## a wheel for glibc 2.28, repaired and audited, in build/dist
	rm -rf $(RAW) $(DIST)/*linux*.whl
	mkdir -p $(RAW)/source $(DIST)
	cp -R $(PARTS) $(RAW)/source
	ZIG_GLOBAL_CACHE_DIR=$(BUILD)/cross/cache CC='$(PY) -m ziglang cc -target $(MACHINE)-linux-gnu.2.28' \
	    $(PY) -m pip wheel --quiet --no-deps --no-build-isolation -w $(RAW) $(RAW)/source
	PATH=$(VENV)/bin:$$PATH auditwheel repair --plat manylinux_2_28_$(MACHINE) -w $(DIST) $(RAW)/*.whl
	$(VENV)/bin/abi3audit --strict --summary $(DIST)/*abi3-*.whl

check-wheels: wheel-manylinux ## that wheel in a clean venv of every CPython found, with all tests
	@set -e; for p in $$(sh tests/pythons.sh | grep -v 't/bin/\|t$$'); do \
	    echo "== $$($$p --version)"; start=$$(date +%s); \
	    $(MAKE) check-wheel PYTHON=$$p FILE="$$(ls $(DIST)/*abi3-*.whl)"; \
	    echo "== $$($$p --version): $$(($$(date +%s) - start)) s"; done

# The installed wheel alone: in the venv is nothing that builds.
CLEAN := $(BUILD)/clean-$(TAG)
TESTS := tests
check-wheel: ## install the wheel FILE in a clean venv of PYTHON and run TESTS
	rm -rf $(CLEAN)
	$(PYTHON) -m venv $(CLEAN)
	$(CLEAN)/bin/pip --disable-pip-version-check install --quiet --no-index --no-deps $(FILE)
	$(CLEAN)/bin/pip --disable-pip-version-check install --quiet --upgrade 'pip>=25.1'
	$(CLEAN)/bin/pip install --quiet --prefer-binary $(TEST_GROUPS)
	$(CLEAN)/bin/python -P -m pytest -o cache_dir=$(BUILD)/pytest $(PYTEST_ARGS) $(TESTS)
	rm -rf $(CLEAN)

# ---- benchmarks ---------------------------------------------------------------

.PHONY: bench bench-compare bench-channel bench-examples bench-handover bench-shelter bench-docs
LIMITS := $(BUILD)/bench-limits-$(TAG).so
bench: install $(VENV)/.bench $(BUILD)/bench-core.so $(LIMITS) $(BUILD)/bench-channel.so bench-memsec ## everything the figures rest on, side by side
	$(PY) -P bench/death.py
	$(PY) -P bench/threads.py
	$(PY) -P bench/many.py
	$(PY) -P bench/channel.py $(BUILD)/bench-channel.so
	$(PY) -P bench/heap.py
	$(PY) -P bench/residue.py
	$(PY) bench/shelter.py $(BENCH_SHELTER_ARGS)
	$(PY) bench/run.py $(BUILD)/bench-core.so $(LIMITS) --memsec $(MEMSEC) $(BENCH_ARGS)

bench-shelter: install ## sheltered calls and `run`, beside the plain interpreter, in CPU time
	$(PY) bench/shelter.py $(BENCH_SHELTER_ARGS)

bench-channel: install $(BUILD)/bench-channel.so ## from a child's fault to its parent, beside a byte by hand
	$(PY) -P bench/channel.py $(BUILD)/bench-channel.so

# BEFORE is a revision; one slow row fails it.
bench-compare: install ## this tree beside another revision (BEFORE=REV), row by row, interleaved
	rm -rf $(BUILD)/before && mkdir -p $(BUILD)/before/source
	git archive $(BEFORE) | tar -x -C $(BUILD)/before/source
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -t $(BUILD)/before/site $(BUILD)/before/source
	$(PY) -m pip install --quiet --no-deps -t $(BUILD)/before/now $(WHEEL)/*.whl
	$(PY) -P bench/compare.py $(BUILD)/before/site $(BUILD)/before/now $(COMPARE_ARGS)

bench-handover: install ## a secret to another process, beside pipes and memory by hand; a worker's replacement
	$(PY) -P bench/handover.py

bench-examples: install $(VENV)/.bench ## what the library costs programs like those of examples/
	$(PY) -P bench/examples.py $(BENCH_EXAMPLES_ARGS)

# A row that is over its bar is written, too.
bench-docs: ## the same, written into docs/performance.md, and in short into README
	-$(MAKE) bench BENCH_ARGS='--json $(BUILD)/bench.json --svg docs/performance.svg --markdown docs/performance.md' \
	    BENCH_SHELTER_ARGS='--markdown docs/performance.md'
	$(PY) -P docs/summary.py

$(VENV)/.bench: pyproject.toml $(VENV)/.made
	$(GROUPS) --group bench
	touch $@

$(LIMITS): bench/limits.c $(VENV)/.made
	@mkdir -p $(@D)
	$(CC) -std=c11 $(DEFINES) $(WARNINGS) -O3 -shared -fPIC -o $@ $< \
	    -I$(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))') \
	    $(if $(filter macos,$(SYSTEM)),-undefined dynamic_lookup)

# By cargo without a network, from what Debian's package brings.
CRATES := /usr/share/cargo/registry
MEMSEC := $(BUILD)/memsec/target/release/libbench_memsec.so
.PHONY: bench-memsec
bench-memsec:
	@if ! command -v cargo >/dev/null; then echo "memsec is left out: there is no cargo"; \
	elif ! ls -d $(CRATES)/memsec-0.5.* >/dev/null 2>&1; then \
	    echo "memsec is left out: Debian's librust-memsec+default-dev is not installed"; \
	else mkdir -p $(BUILD)/memsec && cp bench/memsec/* $(BUILD)/memsec/ && cd $(BUILD)/memsec && \
	    cargo build --quiet --release --offline --config 'source.crates-io.replace-with="debian"' \
	        --config 'source.debian.directory="$(CRATES)"'; fi

$(BUILD)/bench-channel.so: bench/channel.c
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) -O3 -shared -fPIC -o $@ $<

# Linked as the wheel is.
WHOLE = $(shell echo 'int main(void) { return 0; }' | $(CC) -flto -x c - -o /dev/null 2>/dev/null && echo -flto)
$(BUILD)/bench-core.so: bench/core.c $(CORE) $(wildcard csrc/core/*.h csrc/core/*/*.h csrc/core/os/*/*.h)
	@mkdir -p $(@D)
	$(CC) $(STANDARD) $(WARNINGS) -O3 $(WHOLE) -fvisibility=hidden -shared -fPIC -o $@ bench/core.c $(CORE) $(if $(filter linux,$(SYSTEM)),-ldl)

# ---- tables ---------------------------------------------------------------------

# A venv of its own: packages in the versions that the record names.
WORKS := $(BUILD)/venv-works-$(TAG)
$(WORKS)/.made: pyproject.toml
	rm -rf $(WORKS)
	$(PYTHON) -m venv $(WORKS)
	$(WORKS)/bin/python -m pip --disable-pip-version-check install --quiet 'pip>=25.1'
	$(WORKS)/bin/python -m pip install --quiet --group works
	touch $@

$(WORKS)/.installed: $(WHEEL)/.built $(WORKS)/.made
	$(WORKS)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEEL)/*.whl
	touch $@

.PHONY: works-with works-record
works-with: $(WORKS)/.installed ## try what takes an arena, and write docs/works-with.md
	@set -e; for p in $$(sh tests/pythons.sh); do $(MAKE) -s works-record PYTHON=$$p; done
	$(WORKS)/bin/python tests/works/works.py --packages --record
	$(call sheltered_rows,--record)

works-record: install
	$(PY) tests/works/works.py --record

# From a directory where the source is not imported.
define sheltered_rows # options
	@set -e; cd $(BUILD); works='$(CURDIR)/tests/works/works.py --sheltered $1'; for part in '' --packages; do \
	    $(WORKS)/bin/python $$works $$part; $(WORKS)/bin/python -m secalloc run $$works $$part; done
endef

check-works-with: $(WORKS)/.installed ## the packages' rows, and all that is sheltered, are as docs/works-with.md has them
	$(WORKS)/bin/python tests/works/works.py --packages
	$(call sheltered_rows,)

# A venv of its own, too: 250 MB, which no other check needs.
OTHERS := $(BUILD)/venv-others-$(TAG)
$(OTHERS)/.made: pyproject.toml
	rm -rf $(OTHERS)
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip --disable-pip-version-check install --quiet 'pip>=25.1'
	$(OTHERS)/bin/python -m pip install --quiet --prefer-binary --group others
	touch $@

$(OTHERS)/.installed: $(WHEEL)/.built $(OTHERS)/.made
	$(OTHERS)/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps $(WHEEL)/*.whl
	touch $@

check-with-others: $(OTHERS)/.installed ## with pydantic, FastAPI, click, servers; systemd's units and containers' files
	$(OTHERS)/bin/python -P -m pytest -q -o cache_dir=$(BUILD)/pytest tests/works/test_with_others.py tests/works/test_deployment.py

$(OTHERS)/.types: pyproject.toml $(OTHERS)/.made
	$(OTHERS)/bin/python -m pip --disable-pip-version-check install --quiet --prefer-binary --no-compile --group recipes --group types
	touch $@

check-recipes: $(OTHERS)/.installed $(OTHERS)/.types ## the Python blocks of README and docs, by mypy --strict and pyright
	$(OTHERS)/bin/python -P tests/checks/recipes.py $(BUILD)/recipes

$(VENV)/.examples: pyproject.toml $(VENV)/.pytest
	$(GROUPS) --group examples
	touch $@

check-examples: install $(VENV)/.examples ## the programs of examples/, as a user starts them; EXAMPLE_BYTES=1073741824: a backup of 1 GiB
	$(PY) $(PYTEST) -q tests/examples/check_examples.py

.PHONY: attacks
attacks: install $(VENV)/.attacks ## each attack against each way of holding a key, into docs/attacks.md, and in short into README
	$(PY) bench/attacks/run.py --markdown docs/attacks.md
	$(PY) -P docs/summary.py

check-attacks: install $(VENV)/.attacks ## the same, compared with what is documented
	$(PY) bench/attacks/run.py --check docs/attacks.md

$(VENV)/.attacks: pyproject.toml $(VENV)/.made
	-$(GROUPS) --group attacks
	touch $@

# ---- deeper checks ---------------------------------------------------------------

CHECKS := check-warnings check-cppcheck check-layers check-format check-lint check-workflows check-sdist check-macos check-asan check-tsan check-valgrind check-ct check-remains check-model check-purity check-inject fuzz check-cross check-versions check-deaths check-handover check-neighbours check-workers check-shelter check-works-with check-with-others check-recipes check-examples check-attacks check-site
.PHONY: check $(CHECKS) check-docs check-freethreaded
check: $(CHECKS) ## all of the checks below

# Each file alone, with what both compilers know; the glue without -Wconversion's
# view of Python's own headers.
INCLUDE = $(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')
define warnings # compiler, flags, files
	@printf '%s\n' $3 | xargs -n 1 -P $(CORES) $1 $(STANDARD) $(WARNINGS) -Werror -Icsrc/py -isystem $(INCLUDE) $2 -c -o /dev/null
	@echo "ok: $1 $2, $(words $3) files"

endef
check-warnings: ## gcc and clang with every warning an error, and gcc -fanalyzer
	$(call warnings,$(GCC),-O2,$(CORE) $(GLUE) $(PRELOADED))
	$(call warnings,$(CLANG),-O2,$(CORE) $(GLUE) $(PRELOADED))
	$(call warnings,$(GCC),-O1 -fanalyzer,$(CORE) $(PRELOADED))

check-cppcheck: ## cppcheck over the core
	cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr -Icsrc/core -D__x86_64__=1 $(DEFINES:%=%=1) \
	    --enable=warning,performance,portability --suppress=missingIncludeSystem $(CORE) $(PRELOADED)
	@echo 'ok: cppcheck'

check-layers: $(OBJECTS) $(GLUE_OBJECTS) ## what includes, calls and imports what: downward only, by layers
	$(PYTHON) tests/checks/layers.py $(C) $^

check-format: ## C files by .clang-format; no file and no function of csrc is too long
	$(PYTHON) tests/checks/format.py $(CLANG_FORMAT)

# The library's handlers must get the faults, not the sanitizer's.
SIGNALS := handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0:handle_sigtrap=0
check-asan: ## the C tests under AddressSanitizer and UBSan
	ASAN_OPTIONS=$(SIGNALS):use_sigaltstack=0 $(MAKE) run-c VARIANT=asan CC=$(CLANG) \
	    CFLAGS='-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all'

# ThreadSanitizer of clang 16 wants its shadow where randomisation may put a mapping.
check-tsan: ## the C tests under ThreadSanitizer
	TSAN_OPTIONS=$(SIGNALS):use_sigaltstack=0:halt_on_error=1 $(MAKE) run-c VARIANT=tsan CC=$(CLANG) \
	    CFLAGS='-O1 -g -fsanitize=thread' $(if $(filter linux,$(SYSTEM)),RUN='setarch -R')

# The programs are those of `make test`.
check-valgrind: ## the C tests under valgrind
	$(MAKE) run-c VARIANT=valgrind C=$(C) TOGETHER=$(CORES) RUN='valgrind --quiet --suppressions=tests/core/valgrind.supp --error-exitcode=9 --leak-check=full'

# Transfers between lockdowns take long in small pieces: test_os.c sends them. The frame of a signal stays Linux's; the file for macOS is compiled into a test of its own.
XNU := $(wildcard csrc/core/*/*.c) $(filter-out %/frame.c %/code.c,$(wildcard csrc/core/os/macos/*.c)) \
       csrc/core/os/linux/frame.c csrc/core/os/linux/code.c csrc/core/os/linux/syscall.c
check-macos: ## the core's macOS side, by C tests on Linux that answers as XNU does
	$(MAKE) run-c VARIANT=xnu CORE='$(XNU)' C_TESTS='$(patsubst $(C)/%,$(BUILD)/c-xnu/%,$(filter-out %/test_transfer %/test_residue,$(C_TESTS))) $(BUILD)/c-xnu/test_frame' \
	    CFLAGS='-O1 -g -U__linux__ -Itests/core/macos -include xnu.h'

$(VENV)/.neighbours: pyproject.toml $(VENV)/.pytest
	$(GROUPS) --group neighbours
	touch $@

check-neighbours: install $(VENV)/.neighbours ## with other libraries that handle fatal signals, and in a notebook
	$(PY) -P -m pytest -o cache_dir=$(BUILD)/pytest -rs tests/crash/test_neighbours.py tests/api/test_getpass.py::test_in_jupyters_kernel

$(VENV)/.shelter: pyproject.toml $(VENV)/.pytest
	$(GROUPS) --group shelter
	touch $@

check-shelter: install $(VENV)/.shelter ## what sheltered calls leave of a secret, 71 kinds; forks and limits
	$(PY) -P tests/checks/shelter/leftovers.py
	SECALLOC_TRIALS=200 $(PY) -P -m pytest -q -o cache_dir=$(BUILD)/pytest tests/shelter/test_shelter.py -k 'fork or no_memory'

# Where the interpreter has them: Debian's has not.
check-shelter-cpython: ## CPython's own tests inside of a sheltered call, with every CPython found; ARGS: files
	@set -e; for p in $$(sh tests/pythons.sh | grep -v 't/bin/\|t$$'); do \
	    $(MAKE) -s install PYTHON=$$p; $(MAKE) -s shelter-cpython PYTHON=$$p; done

.PHONY: shelter-cpython check-shelter-cpython
shelter-cpython:
	$(PY) -P tests/checks/shelter/cpython.py $(ARGS)

$(VENV)/.servers: pyproject.toml $(VENV)/.pytest
	$(GROUPS) --group servers
	touch $@

check-workers: install $(VENV)/.servers ## secrets for many workers: gunicorn, uvicorn, celery, gevent, eventlet; 1,000 hand-overs, 20,000 requests
	SECALLOC_LONG=1 $(PY) -P -m pytest -o cache_dir=$(BUILD)/pytest -rs tests/channel/test_workers.py tests/channel/test_hostile.py tests/channel/test_supervisor.py tests/channel/test_servers.py

# The C programs ten times as often as the matrix, which costs about 15 s a round.
N := 1
.PHONY: deaths
check-deaths: $(DEATHS) ## the crash matrix, N times with every CPython found
	$(PYTHON) tests/core/death/run.py $(DEATH) $$((10 * $(N)))
	@set -e; for p in $$(sh tests/pythons.sh); do $(MAKE) -s deaths PYTHON=$$p N=$(N); done

deaths: install $(VENV)/.pytest
	PYTHONPATH=tests $(PY) tests/checks/deaths.py $(N) $(SEED)

check-handover: $(BUILD)/handover/handover install ## how processes end, with the library and without
	$(PY) -P tests/checks/handover.py $< $(HANDOVER_ARGS)

check-purity: install ## what the fatal handler can reach, in the machine code
	$(PYTHON) tests/checks/purity.py $(BUILD) $(GCC) $(CLANG) $(VENV)/lib/python*/site-packages/secalloc/_core*.so

# What is wrapped is named in the program's table; the rest of it goes through syscall().
INJECT := pipe2 fchmod mmap munmap mremap mprotect madvise munlock mincore ftruncate close sigaction sigaltstack fstat write \
          read poll fcntl open getrlimit setrlimit calloc aligned_alloc pthread_setspecific syscall os_syscall
check-inject: ## every system call of the library fails once, in each way it can
	@mkdir -p $(BUILD)
	$(CC) $(STANDARD) $(WARNINGS) -O1 -g $(INJECT:%=-Wl,--wrap=%) -o $(BUILD)/inject tests/checks/inject/inject.c $(CORE)
	$(BUILD)/inject

# clang's debug information of today is not what valgrind of yesterday reads.
CT := $(BUILD)/ct
define constant_time # compiler, flags
	@mkdir -p $(CT)
	@$1 $(STANDARD) $(WARNINGS) $2 -g -gdwarf-4 -DSECALLOC_CHECK_CT -o $(CT)/ct tests/checks/ct/ct.c \
	    $(wildcard csrc/core/base/*.c)
	@valgrind -q --error-exitcode=9 $(CT)/ct
	@for plant in branch index; do \
	    valgrind -q --error-exitcode=9 $(CT)/ct $$plant >/dev/null 2>&1; \
	    [ $$? = 9 ] || { echo "the planted $$plant was not found out"; exit 1; }; done
	@echo 'ok: constant time: $1 $2'

endef
check-ct: ## comparison, codecs and encryption under valgrind, the secret undefined
	$(foreach o,-O1 -O2 -O3,$(call constant_time,$(GCC),$o)$(call constant_time,$(CLANG),$o))
	$(call constant_time,$(GCC),-O3 -flto)

# A compiler that optimises more keeps more of a key where no source says so.
check-remains: ## what keys leave on the stack, compiled as the wheel is
	$(MAKE) run-c VARIANT=o3 CFLAGS='-O3 -flto' C_TESTS=$(BUILD)/c-o3/test_keys
	$(MAKE) run-c VARIANT=o3-clang CC=$(CLANG) CFLAGS=-O3 C_TESTS=$(BUILD)/c-o3-clang/test_keys

check-model: ## spin over the model of the slot word, and over its mutants
	$(PYTHON) tests/checks/model/check.py

# What is found is kept as $(FUZZ)/crash-*; run it again by giving it to the program.
FUZZ := $(BUILD)/fuzz
FUZZ_SECONDS := 60
FUZZ_SANITIZE := fuzzer,address,undefined
FUZZ_OPTIONS :=
fuzz: ## libFuzzer over the core's operations, for FUZZ_SECONDS
	@mkdir -p $(FUZZ)/corpus
	$(CLANG) $(STANDARD) $(WARNINGS) -O1 -g -fsanitize=$(FUZZ_SANITIZE) -fno-sanitize-recover=all \
	    -Wl,--wrap=abort -Wl,--wrap=write -o $(FUZZ)/operations tests/checks/fuzz/operations.c $(CORE)
	ASAN_OPTIONS=use_sigaltstack=0:handle_sigtrap=0 $(FUZZ)/operations -max_len=160 -print_final_stats=1 \
	    -verbosity=0 -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ)/ $(FUZZ_OPTIONS) $(FUZZ)/corpus

check-cross: $(VENV)/.cross ## compile and link for every platform; run the C tests on musl, and by qemu
	bash tests/checks/cross.sh $(PY) $(BUILD)/cross

$(VENV)/.cross: pyproject.toml $(VENV)/.made
	$(GROUPS) --group cross
	touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.pytest
	$(GROUPS) --group lint --group cibuildwheel
	touch $@

check-lint: install $(VENV)/.lint ## ruff, mypy --strict and stubtest
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy --strict secalloc pytest_secalloc tests examples
	cd $(BUILD) && $(VENV)/bin/mypy --strict --config-file= $(CURDIR)/tests/residue/test_typed.py
	$(VENV)/bin/mypy --strict bench/attacks
	MYPYPATH=tests:tests/checks $(VENV)/bin/mypy --strict --python-version 3.14 tests/api/test_typing.py
	$(PY) -P tests/checks/stubs.py
	cd $(BUILD) && $(VENV)/bin/stubtest --mypy-config-file $(CURDIR)/pyproject.toml --allowlist $(CURDIR)/tests/stubtest.txt secalloc

.PHONY: tools
tools: $(VENV)/.lint $(VENV)/.docs $(VENV)/.cross ## what checks install into the venv, so that no two of them do at once

.PHONY: stubs
stubs: install $(VENV)/.lint ## write the extension's docstrings into secalloc/_core.pyi, for editors
	$(PY) -P tests/checks/stubs.py --write
	$(VENV)/bin/ruff format -q secalloc/_core.pyi

.PHONY: check-kernels
check-kernels: $(VENV)/.pytest ## boot KERNELS, else all, by qemu, and run the tests in each; QUICK=1: a part
	bash tests/checks/kernels/check.sh $(PY) $(BUILD) $(KERNELS)

check-versions: ## make test with every CPython found
	@set -e; for p in $$(sh tests/pythons.sh); do echo "== $$($$p --version)"; $(MAKE) test PYTHON=$$p; done

check-freethreaded: ## without a GIL: all tests, in threads, under ThreadSanitizer; builds CPython where PYTHON_FT is none
	CLANG=$(CLANG) bash tests/checks/freethreaded.sh $(BUILD)/freethreaded

check-workflows: $(VENV)/.lint ## .github by zizmor and actionlint, offline; cibuildwheel's configuration
	$(VENV)/bin/zizmor --offline --pedantic --quiet .github
	$(VENV)/bin/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	@for system in linux macos; do PATH=$(VENV)/bin:$$PATH cibuildwheel --platform $$system --archs all \
	    --print-build-identifiers >$(BUILD)/identifiers && grep -c . $(BUILD)/identifiers | sed "s/^/ok: $$system, wheels to build or test: /"; done

check-docs: install $(VENV)/.pytest ## run the examples of the documentation
	$(PY) -P -m pytest -o cache_dir=$(BUILD)/pytest tests/docs/test_docs.py

.PHONY: clean
clean: ## remove everything generated
	rm -rf $(BUILD)
