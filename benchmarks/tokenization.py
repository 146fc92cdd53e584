"""Tokenisation speed compared with the batch encoding of the tokenizers library, on the same cores.

    python benchmarks/tokenization.py [--cores 2] [--vocab-size 2048] [--megabytes 8]

The text is the embedded code corpus. Both sides start from documents in memory and end with token ids; ours also appends
end-of-document tokens, packs 16-bit arrays and checks the ids. Rounds alternate, and the best round of each side counts.
Our time includes the start of our processes, once per round.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Parse the command line, run the rounds, print one line per side and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--megabytes", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    # Both sides use the same cores; the library reads the number of threads when it is loaded.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    os.environ["RAYON_NUM_THREADS"] = str(args.cores)

    from twostage.corpora.corpus import prepare_corpus, read_documents
    from twostage.corpora.tokenizer import load_tokenizer, make_tokenizer
    from twostage.corpora.tokens import encode_shards
    from twostage.study import BpeTokenizer, EmbeddedCorpus

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = EmbeddedCorpus(source="embedded", domain="code", max_bytes=int(args.megabytes * 1e6))
        prepare_corpus("code", corpus, folder)
        spec = BpeTokenizer(kind="bpe", vocab_size=args.vocab_size, train_bytes=4_000_000)
        tokenizer_path = folder / "tokenizer.json"
        tokenizer_path.write_text(make_tokenizer(spec, [folder / "manifest.json"]))
        texts = list(read_documents(folder / "manifest.json", "train"))

        best = {"library": float("inf"), "ours": float("inf")}
        tokens = {"library": 0, "ours": 0}
        for _ in range(args.rounds):
            # A new tokenizer in each round has an empty cache of words, like those of our processes.
            tokenizer = load_tokenizer(tokenizer_path)
            os.environ["TOKENIZERS_PARALLELISM"] = "true" if args.cores > 1 else "false"
            start = time.perf_counter()
            tokens["library"] = sum(len(encoding.ids) for encoding in tokenizer.encode_batch(texts))
            best["library"] = min(best["library"], time.perf_counter() - start)
            start = time.perf_counter()
            shards = list(encode_shards(texts, tokenizer_path, args.vocab_size, args.cores))
            best["ours"] = min(best["ours"], time.perf_counter() - start)
            tokens["ours"] = sum(len(shard.ids) for shard in shards)
    assert tokens["ours"] >= tokens["library"] + len(texts)  # an end token per document
    rates = {side: tokens[side] / best[side] / args.cores for side in best}
    for side, rate in rates.items():
        print(f"{side:8s} {tokens[side]:>10,} tokens  {rate / 1e6:6.3f} M tokens/s per core")
    print(f"ratio ours / library on {args.cores} cores: {rates['ours'] / rates['library']:.2f} (target: 0.9)")


if __name__ == "__main__":
    main()
