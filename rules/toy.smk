# The toy model of feature-space expansion, after a summary of v2 of the paper: `snakemake toy_model` needs no training
# and no study. docs/toy-model.md explains it; src/twostage/toy/setting.py has the parameters.
TOY_RESULTS = "results/toy-model"


rule simulate_toy_model:
    input:
        **program("simulate_toy_model.py"),
    output:
        f"{TOY_RESULTS}/losses.csv",
    log:
        f"{TOY_RESULTS}/logs/simulate_toy_model.log",
    resources:
        **cpu_resources(
            f"{TOY_RESULTS}/logs/simulate_toy_model.log", mem_mb=1000, runtime=30
        ),
    message:
        "simulate the toy model (half a minute)"
    shell:
        "python {input.script} --out {output} > {log} 2>&1"


rule plot_toy_model:
    input:
        **program("draw.py", "twostage.figures.figure_toy"),
        losses=rules.simulate_toy_model.output,
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
    resources:
        mem_mb=1000,
    params:
        draw="twostage.figures.figure_toy:draw_simulated",
    message:
        "fit and draw the toy model"
    shell:
        "OMP_NUM_THREADS={threads} python {input.script} {params.draw} --reads {input.losses} "
        "--out {output} > {log} 2>&1"


rule toy_model:
    input:
        rules.plot_toy_model.output,
