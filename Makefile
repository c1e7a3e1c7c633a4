# Each target does its own set-up and can be repeated. PYTHON chooses the interpreter of the environment.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/pip install -c constraints.txt
JOBS ?= 2
CLAIMED := sfn_delta sfn_merge sfn_destroy sfn_freeze app_table2 t2_table1 t2_table2 lora_par_table7 ctt_lab
SOURCES := pyproject.toml constraints.txt

# Every session starts several processes: without compiled modules each of them compiles its own, for seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo claims stethoscope transformer2 lora_par circuits crosscoder test slow lint lab clean

demo: $(VENV)/.demo
	$(VENV)/bin/pytest suites -n $(JOBS) --model lab-base \
	  --variants base,oproj_merged,qkv_merged,mlp_merged,oproj_zeroed,donor --results results/demo
	$(VENV)/bin/python -m harness.report results/demo --html
	@echo "The table: results/demo/table.md; the report: results/demo/report/index.html"

# Every claim that is written down, on the lab: two hours on two cores; what is stored already is not run again.
claims: $(VENV)/.train
	for experiment in $(CLAIMED); do $(VENV)/bin/python -m harness experiment=$$experiment model=lab || exit 1; done
	$(VENV)/bin/python -m harness experiment=lora_par_table4 model=lab \
	  variants=[base,par_lora,lora_par,lora_par_random,par_pissa,lora_par_pissa]
	$(VENV)/bin/python -m harness.report claims $(CLAIMED:%=results/%) results/lora_par_table4 --out results/claims.md
	@echo "The page: results/claims.md"

stethoscope: $(VENV)/.train
	for experiment in delta merge destroy freeze; do \
	  $(VENV)/bin/python -m harness experiment=sfn_$$experiment model=lab || exit 1; \
	done
	@echo "The pages: results/sfn_delta/delta/lab/delta.md and results/sfn_{merge,destroy,freeze}/experiment.md"

test: $(VENV)/.test
	$(VENV)/bin/pytest tests -n $(JOBS) -m "not slow"

transformer2: $(VENV)/.train
	for experiment in table1 table2 ablation transfer; do \
	  $(VENV)/bin/python -m harness experiment=t2_$$experiment model=lab || exit 1; \
	done
	@echo "The pages: results/t2_{table1,table2,ablation,transfer}/{table,experiment}.md"

lora_par: $(VENV)/.train
	$(VENV)/bin/python -m harness experiment=lora_par_table4 model=lab variants=[base,par_lora,lora_par]
	@echo "The pages: results/lora_par_table4/{table,experiment}.md"

circuits: $(VENV)/.train
	$(VENV)/bin/python -m harness experiment=app_table2 model=lab
	$(VENV)/bin/python -m harness.lab.planted results/planted
	$(VENV)/bin/python -m harness.circuits.study model=results/planted tasks=[induction] \
	  references.induction=results/planted/reference.json threshold.rule=absolute threshold.least=0.02 out=results/planted/circuits
	@echo "The pages: results/app_table2/circuits/lab/circuits.md and results/planted/circuits/circuits.md"

crosscoder: $(VENV)/.train
	$(VENV)/bin/python -m harness experiment=ctt_lab
	$(VENV)/bin/python -m harness experiment=ctt_surgery
	@echo "The pages: results/ctt_lab/crosscoder/checkpoints/crosscoder.md and results/ctt_surgery/crosscoder/lab/crosscoder.md"

slow: $(VENV)/.test
	$(VENV)/bin/pytest tests -n $(JOBS) -m slow

lint: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

lab: $(VENV)/.demo
	$(VENV)/bin/python -m harness.lab.train --out lab-models

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/pip $(SOURCES)
	$(PIP) -e .
	touch $@

$(VENV)/.train: $(VENV)/.demo
	$(PIP) -e ".[train,report]"
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(PIP) -e ".[test]"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) dist build
