# The toy model of feature-space expansion, after a summary of v2 of the paper: `snakemake toy_model` needs no training
# and no study. docs/toy-model.md says what is assumed, what is simulated and what comes out.
import json

TOY_RESULTS = "results/toy-model"
# All values are our choice: the summary gives none.
TOY_MODEL = {
    # Small, so that a million samples go about ten levels deep; both alike, so that neither stage is special.
    "base_branching": 4,
    "domain_branching": 4,
    # delta = ln 1.1 / ln 4 = 0.07: a million samples of the first stage make 2.6 children of one.
    "split_probability": 0.1,
    # The exponents of a tree without splitting are ln(1/ratio) / ln(branching): 0.08 in D1, 0.26 in D2.
    "base_ratio": 0.9,
    "domain_ratio": 0.7,
    # Seeds then differ by 0.4 % of the loss, less than the forms do.
    "topics": 100,
}
# Powers of 4 times the first, so that every D1 meets the base tree's levels in the same phase.
TOY_D1_SAMPLES = [1000 * 4**step for step in range(6)]
# From 160 samples a topic on (before, no power law has set in) over a factor of 64.
TOY_D2_SAMPLES = [16_000 * 2**step for step in range(7)]
TOY_SEEDS = [0, 1, 2, 3]


rule simulate_toy_model:
    input:
        script=f"{SCRIPTS}/simulate_toy_model.py",
        code=library_code("toy/model.py"),
    output:
        f"{TOY_RESULTS}/losses.csv",
    log:
        f"{TOY_RESULTS}/logs/simulate_toy_model.log",
    threads: 1
    resources:
        **cpu_resources(
            f"{TOY_RESULTS}/logs/simulate_toy_model.log", mem_mb=1000, runtime=30
        ),
    params:
        model=json.dumps(TOY_MODEL),
        d1=TOY_D1_SAMPLES,
        d2=TOY_D2_SAMPLES,
        seeds=TOY_SEEDS,
    message:
        "simulate the toy model (half a minute)"
    shell:
        "python {input.script} --model {params.model:q} --d1-samples {params.d1} "
        "--d2-samples {params.d2} --seeds {params.seeds} --out {output} > {log} 2>&1"


rule plot_toy_model:
    input:
        losses=rules.simulate_toy_model.output,
        script=f"{SCRIPTS}/plot_toy_model.py",
        code=library_code(
            "toy/model.py",
            "toy/fit.py",
            "analysis/power_laws.py",
            "analysis/power_law_solver.py",
            "figures/figure_toy.py",
            "figures/figure_1.py",
            "figures/curve_panel.py",
            "figures/style.py",
            *(
                f"laws/{path.name}"
                for path in sorted(Path(LIBRARY, "laws").glob("*.py"))
            ),
        ),
    output:
        pdf=f"{TOY_RESULTS}/toy-model.pdf",
        png=report(
            f"{TOY_RESULTS}/toy-model.png",
            caption="../report/toy-model.rst",
            category="Figures",
            labels={"figure": "Toy model"},
        ),
        csv=f"{TOY_RESULTS}/toy-model.csv",
    log:
        f"{TOY_RESULTS}/logs/plot_toy_model.log",
    threads: 1
    resources:
        mem_mb=1000,
    params:
        model=json.dumps(TOY_MODEL),
    message:
        "fit and draw the toy model"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} --model {params.model:q} "
        "--losses {input.losses} --png {output.png} > {log} 2>&1"


rule toy_model:
    input:
        rules.plot_toy_model.output,
