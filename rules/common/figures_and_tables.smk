# Files of a figure or table, from its declaration (src/twostage/catalogue/entry.py).


def sources_of(entry):
    """Return the input function of a figure or table: the tables and fits that it is made from."""

    @explained
    def files(wildcards):
        if reason := entry.lacks(study):
            raise UserError(f"{entry.key}: {entry.name!r} cannot be drawn: {reason}")
        return [in_results(path) for path in entry.reads(study)]

    return files


def files_of(entry):
    """Return the output files. The PNG or HTML file is in the report, with the caption."""
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
    """Return all files of the `figures` or `tables` that the study gets."""
    entries = [entry for entry in lookup.drawn_entries(study) if entry.key == key]
    return [in_results(path) for entry in entries for path in entry.files.values()]
