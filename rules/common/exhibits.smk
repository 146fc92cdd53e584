# Files of a figure or table, from its declaration (src/twostage/exhibits/entry.py).


def sources_of(entry):
    """Input function: the tables and fits that a figure or table is made from."""

    def files(wildcards):
        if reason := entry.lacks(study):
            raise WorkflowError(
                f"{entry.key}: {entry.name!r} cannot be drawn: {reason}"
            )
        return [in_results(path) for path in entry.reads(study)]

    return files


def files_of(entry):
    """Output files; the one to look at is in the report, with its caption."""
    files = {kind: in_results(path) for kind, path in entry.files.items()}
    kind = "png" if entry.key == "figures" else "html"
    files[kind] = report(
        files[kind],
        caption="../report/caption.rst",
        category=entry.key.capitalize(),
        labels={entry.key.removesuffix("s"): entry.title},
    )
    return files


def files_drawn(key):
    """All files of the figures, or of the tables, that the study gets."""
    entries = [entry for entry in catalogue.drawn_entries(study) if entry.key == key]
    return [in_results(path) for entry in entries for path in entry.files.values()]
