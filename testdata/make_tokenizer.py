"""Writes the tokenizer's golden vectors, testdata/tokenizer/vectors.json, with the tokenizers package.

    python3 testdata/make_tokenizer.py

Needs tokenizers and gguf from PyPI, the folder of real rows and vocabularies (SERVEBENCH_SHARED)
and the one that the peers' setup script fills (SERVEBENCH_PEERS). Of real rows only a hash of
their ids is written. All text below is the project's own.
"""
import hashlib
import importlib.metadata
import json
import os
import random
import struct
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("SERVEBENCH_SHARED", HERE.parent.parent / "shared"))
PEERS = Path(os.environ.get("SERVEBENCH_PEERS", "/tmp/peers"))
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# Text that tokenizers get wrong.
HARD = [
    "", " ", "  ", "\n", "\t", "a", " a", "a ", "  a  ", "\u0000", "a\u0000b\u0000\u0000", "\ufffd",
    "Hello, world! It's a test; we'll see what they've done, I'd say you're right, and 'twas the cat's.",
    "'S 'T 'RE 'VE 'M 'LL 'D 's't're've'm'll'd '' ''s 'l 'r 'v 'x", "don’t use ‘curly’ “quotes” — or… dashes–like these",
    "0 1 12 123 1234 12345 3.14159 1,000,000 1e-9 0x1F ½ ¾ ² ³ ⅷ Ⅻ ٣٤٥ १२३ 五 ㊿ 𝟘𝟙𝟚",
    "line one\nline two\r\nline three\r\rline four\n\n\n\nline eight\n \n \n  end",
    "\t\ttabs\t \t mixed \t\n\t\n", "trailing spaces     ", "     leading", "a  b   c    d     e      f",
    "nbsp\u00a0\u00a0x ogham\u1680x en\u2000\u2001\u2002x thin\u2009x line\u2028para\u2029x nnbsp\u202fx math\u205fx ideo\u3000\u3000x",
    "nel\u0085x vt\u000bx ff\u000cx fs\u001cx gs\u001dx zwsp\u200bx zwnj\u200cx zwj\u200dx bom\ufeffx wj\u2060x mvs\u180ex shy\u00adx",
    "\u00a0\u00a0", "\n\u00a0 x", " \u3000", "x \u00a0 y",
    "👍 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇩🇪 1️⃣ ☃️ ❤️‍🔥 🤷🏿‍♀️ ©️ 🫠",
    "مرحبا بالعالم، كيف الحال؟ שָׁלוֹם עֲלֵיכֶם עולם \u202eabc\u202c \u200fx\u200e",
    "한국어 문장과 띄어쓰기 ᄒ\u1161\u11ab 각\u11a8 漢字とかな、カタカナ。ｶﾅ ＡＢＣ１２３",
    "ไทย ภาษา हिन्दी में लिखा हुआ தமிழ் বাংলা ქართული հայերեն ελληνικά Кириллица",
    "café cafe\u0301 naïve Å A\u030a ﬁ ﬃ ß ẞ İ ı ſ Ǆ ǅ", "Z\u0351\u0343\u0350a\u0341l\u0341g\u035do\u0354",
    "def f(x):\n    if x == 0:\n        return [i**2 for i in range(10)]  # squares\n\treturn None\n",
    "{\"key\": [1, 2.5, null, true], \"nested\": {\"a\\n\": \"\\u00e9\"}}", "<div class=\"a\">&amp;</div> https://example.org/a?b=c&d=%20#e",
    "snake_case camelCase SCREAMING_CASE kebab-case x_1 _ __ ___ a_b__c", "!!!??? ...,,, ((())) [[]] {{}} <<>> $$$ ^^^ ~~~ ``` ||| \\\\\\ ///",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<|endoftext|><|endoftext|>", "<|endoftext|", "<|<|endoftext|>|>", "<|im_start|>user\nhi<|im_end|>\n",
    "<|im_start|><|im_start|>system <repo_name><reponame><file_sep>x<filename>", "\u00e9<|im_end|>\u00e9 <|IM_END|>",
    "\U0001f4a9\U0010fffd\ue000\ufdd0 \U000e0041 \U0001d173", "\u1c89\u1c8a \ua7dc \U00010d4a \U00010d40 \U000116d0 \U00011de0 \U00016ff4 \U0002ebf0 \U0001ccf0",
    "𐍈𐌰 𓀀𓁐 𒀀 𝒜𝓁𝓁 ℵ ∀x∈ℝ: ⌈x⌉ ≥ x ∎ ½⁄⅓", "mixed١٢3४5", "ab12cd 1a2b3c a1 1a a 1 1 a", "\u0301\u0302 \u0301", "\x7f\x80\x9f\xa0\xad\xff",
    "supercalifragilisticexpialidociousantidisestablishmentarianismpneumonoultramicroscopicsilicovolcanoconiosis",
]
# Long text: a piece and how often it is repeated.
REPEATED = [["a", 100_000], ["ab", 50_000], ["\u00e9", 20_000], [" ", 50_000], ["\n", 9_999], ["\t\t ", 9_999],
            ["The quick brown fox's 12 dens. ", 3_000], ["xyzzy\U0001f600", 9_000], ["<|endoftext|", 5_000], ["=-", 30_000]]
TINY = ["the quick brown fox jumps over the lazy dog and the other dog's bone, again and again",
        "if x == 10: return the_value[12] + 345  # the other value", "hello hello world, the world's end is near the end"]


def sha(ids):
    """Eight hex digits over ids as little-endian int32."""
    return hashlib.sha256(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()[:8]


def from_gguf(path, pre):
    """The vocabulary of a GGUF file as a byte-level BPE with the given pre-tokenizer."""
    fields = gguf.GGUFReader(path).fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    tokens, kinds = list(get("tokens")), list(get("token_type"))
    t = Tokenizer(models.BPE({s: i for i, s in enumerate(tokens)}, [tuple(m.split(" ")) for m in get("merges")]))
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s, k in zip(tokens, kinds) if k == 3])
    return t


def dataset_rows():
    """Every text of every real row, by file: a list of texts a row."""
    fields = {
        "oasst1/messages.jsonl": lambda r: [r["text"]],
        "oasst1/root_prompts.jsonl": lambda r: [r["text"]],
        "cnn_dailymail/3.0.0_validation.jsonl": lambda r: [r["article"], r["highlights"]],
        "trivia_qa/rc_nocontext_validation.jsonl": lambda r: [r["question"], *r["answer"]["aliases"]],
        "openai_humaneval/HumanEval.jsonl": lambda r: [r["prompt"], r["canonical_solution"], r["test"]],
    }
    for name, texts in fields.items():
        with open(SHARED / "data" / name, encoding="utf-8") as f:
            yield name, [texts(json.loads(line)) for line in f]


def encode(t, texts, special):
    t.encode_special_tokens = not special
    ids = [e.ids for e in t.encode_batch(texts, add_special_tokens=False)]
    t.encode_special_tokens = False
    return ids


def decodings(t, rng):
    """Random ids, most of them of single bytes, and their text with and without special tokens."""
    size = t.get_vocab_size()
    short = [i for i in range(size) if len(t.id_to_token(i)) <= 1] or list(range(size))
    out = []
    for n in list(range(1, 9)) + [30] * 12:
        ids = [rng.choice(short) if rng.random() < 0.8 else rng.randrange(size) for _ in range(n)]
        out.append({"ids": ids, "text": t.decode(ids, skip_special_tokens=False), "skipped": t.decode(ids, skip_special_tokens=True)})
    return out


def real(t, rng):
    golden = {"special": encode(t, HARD, True), "plain": encode(t, HARD, False), "decode": decodings(t, rng),
              "repeated": [sha(ids) for ids in encode(t, [s * n for s, n in REPEATED], True)], "rows": {}}
    for name, rows in dataset_rows():
        golden["rows"][name] = [sha(sum(encode(t, texts, True), [])) for texts in rows]
    return golden


def tiny():
    """A small byte-level BPE trained on TINY, as tokenizer.json."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    t.train_from_iterator(TINY * 4, trainers.BpeTrainer(
        vocab_size=380, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<s>", "</s>", "<unk>"], show_progress=False))
    return json.loads(t.to_str())


def variants(base):
    """Changes of the base's top-level keys and of its model's, each for a feature of tokenizer.json."""
    level = lambda **kw: {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True, **kw}
    sequence = lambda *parts: {"type": "Sequence", "pretokenizers": list(parts)}
    split = {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False}
    size = len(base["model"]["vocab"])

    def added(*tokens):
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        fresh = iter(range(size, size + len(tokens)))  # a token that the model has keeps its id
        ids = [base["model"]["vocab"].get(c) for c, _ in tokens]
        return base["added_tokens"] + [{"id": next(fresh) if i is None else i, "content": c, **flags, **kw} for i, (c, kw) in zip(ids, tokens)]

    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}}
    no_x = {k: i for i, k in enumerate(k for k in base["model"]["vocab"] if "x" not in k)}
    no_x_merges = [m for m in base["model"]["merges"] if "x" not in "".join(m)]
    yield "plain", {}, {}
    yield "merges in one string", {}, {"merges": [" ".join(m) for m in base["model"]["merges"]]}
    yield "prefix space", {"pre_tokenizer": level(add_prefix_space=True)}, {}
    yield "digits", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, level())}, {}
    yield "digits, prefix space", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": True}, level(add_prefix_space=True))}, {}
    yield "runs of digits", {"pre_tokenizer": sequence({"type": "Digits", "individual_digits": False}, level())}, {}
    yield "split", {"pre_tokenizer": sequence(split, level(use_regex=False))}, {}
    yield "no regex", {"pre_tokenizer": level(use_regex=False)}, {}
    yield "no regex, prefix space", {"pre_tokenizer": level(use_regex=False, add_prefix_space=True)}, {}
    yield "template", {"post_processor": template}, {}
    yield "sequence of processors", {"post_processor": {"type": "Sequence", "processors": [level(), template]}}, {}
    yield "ignore_merges", {}, {"ignore_merges": True, "vocab": {**base["model"]["vocab"], "Ġxyz": size, "qux": size + 1}}
    yield "unknown", {}, {"vocab": no_x, "merges": no_x_merges, "unk_token": "<unk>", "fuse_unk": False}
    yield "unknown, fused", {}, {"vocab": no_x, "merges": no_x_merges, "unk_token": "<unk>", "fuse_unk": True}
    yield "byte dropped", {}, {"vocab": no_x, "merges": no_x_merges}
    yield "added", {"added_tokens": added(
        ("<a>", {"special": True}), ("<a><b>", {"special": True}), ("<l>", {"lstrip": True}), ("<r>", {"rstrip": True}),
        ("<lr>", {"lstrip": True, "rstrip": True, "special": True}), ("word", {"single_word": True}), ("<n>", {"normalized": True}),
        ("  ", {}), ("\t\t", {"normalized": True}), ("\u00e9", {}), ("\u00e9t\u00e9", {}), ("Ġthe", {}), ("<s", {"normalized": True}), ("\u4e2d\u6587", {}))}, {}


VARIANT_TEXTS = [
    "", " ", "the quick fox", " the  other\n\ndog's 12 345 x", "xxaxx x Xx xyz xyzxyz qux quxx aqux", "<s>the</s> <unk><s></s", "12 ab 3 4567 ½٣",
    "<a> <a><b> <a><a><b>", "x  <l>  <l>x <r>  x<r>  <lr> y  <lr><lr>  ", "word words sword word, (word) wordé éword word_ _word word1 word\u0301", "a<n>b <n>",
    "a  b   c    d\t\te\t\t\tf", "caf\u00e9 \u00e9\u00e9 \u00e9t\u00e9", "Ġthe the", "<s <s>", "\u4e2d\u6587 \u4e2d\u6587\u5b57 word\u4e2d\u6587", "<l>\u00a0\u3000<r>\n\u00a0<l>", "<a", "hello\nworld's end\n",
]


def classes():
    """A hash over the class of every code point, one letter each: that of the regular expressions
    (L, N, S or O), in lower case where the Digits pre-tokenizer splits the character off."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    out = dict.fromkeys(points, "O")

    def alone(splitter):
        for at in range(0, len(points), 4096):
            block = "!".join(map(chr, points[at:at + 4096]))
            for piece, (begin, end) in splitter.pre_tokenize_str(block):
                if end - begin == 1 and begin % 2 == 0:
                    yield ord(piece)

    for name, pattern in (("L", r"\p{L}"), ("N", r"\p{N}"), ("S", r"\s")):
        for c in alone(pre_tokenizers.Split(Regex(pattern), "isolated")):
            if c != ord("!"):
                out[c] = name
    for c in alone(pre_tokenizers.Digits(individual_digits=True)):
        if c != ord("!"):
            out[c] = out[c].lower()
    return hashlib.sha256("".join(out[c] for c in points).encode()).hexdigest()


def main():
    rng = random.Random(1)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base = tiny()
    golden = {
        "command": "python3 testdata/make_tokenizer.py",
        "versions": {p: importlib.metadata.version(p) for p in ("tokenizers", "gguf")},
        "hard": HARD, "repeated": REPEATED, "classes": classes(),
        "gpt2": real(from_gguf(SHARED / "tokenizers/gpt-2.gguf", level), rng),
        "smollm2": real(from_gguf(PEERS / "models/smollm2-bf16.gguf", pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), level])), rng),
        "smollm2_json": real(Tokenizer.from_file(str(PEERS / "models/smollm2/tokenizer.json")), rng),
        "tiny": base, "texts": VARIANT_TEXTS, "variants": [],
    }
    for name, top, model in variants(base):
        t = Tokenizer.from_str(json.dumps({**base, **top, "model": {**base["model"], **model}}))
        golden["variants"].append({
            "name": name, "top": top, "model": model, "special": encode(t, VARIANT_TEXTS, True), "plain": encode(t, VARIANT_TEXTS, False),
            "prompt": [e.ids for e in t.encode_batch(VARIANT_TEXTS, add_special_tokens=True)], "decode": decodings(t, rng)[:10]})
    out = HERE / "tokenizer" / "vectors.json"
    out.parent.mkdir(exist_ok=True)
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=True, separators=(',', ':'))}" for k, v in golden.items()]
    out.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
