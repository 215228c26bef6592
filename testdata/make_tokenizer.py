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
from itertools import islice
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve().parent
SHARED = Path(os.environ.get("SERVEBENCH_SHARED", HERE.parent.parent / "shared"))
PEERS = Path(os.environ.get("SERVEBENCH_PEERS", "/tmp/peers"))
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"\p{N}|", r"\p{N}{1,3}|")
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
    "🧑🏻‍❤️‍💋‍🧑🏿👩🏽‍🚀🏴󠁧󠁢󠁳󠁣󠁴󠁿👁️‍🗨️ 🫱🏼‍🫲🏾x👨‍👨\u200d", "١٢٣ שלום123עולם \u202bمرحبا\u202c\u2067abc\u2069 لا ﷺ ﻻ \u061c؟",
    "각\u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af 뷁쫓똠ㄱㄴㅏ ㈀ ﾡ", "\t\t\t\t\n\n\t\t\n \t \t\r\n\r\n\t\r\r\n\n\n\n\n\n\n\n\nx\t\t\tx\t\t\t\t\t\t\t\t\t\t\t\tx",
    *(f"if x:{' ' * n}y{chr(9) * n}z\n{' ' * n}" for n in (1, 2, 3, 4, 7, 8, 9, 10, 11, 16, 17, 18, 30, 31, 32, 33, 62, 63, 64, 65, 93)),
    " \t  \t\t   \t\t\t    \n  \n   \n\t \n\t\t  x", "I'M HE'S WE'LL don'T 'ſ '\u017ft 'K THEY'VE'RE x'dx 'D\u0301 ''S", "a\r\nb\r\n\r\n  c \r d!\r\n\r\n!!\n\n ?\n x\u2028\n\u0085\n",
    "1234567890 12 123 1234 ½¾⅓⅔ ٠١٢٣٤٥٦ 1a23b456c7890 -12345.678e90", "\tdef\tf():\n\t\treturn\t#x\n\u00a0word\u3000word .word !word\n-word\r-word\n\tword",
    "supercalifragilisticexpialidociousantidisestablishmentarianismpneumonoultramicroscopicsilicovolcanoconiosis",
]
# Long text: a piece and how often it is repeated.
REPEATED = [["a", 100_000], ["ab", 50_000], ["\u00e9", 20_000], [" ", 50_000], ["\n", 9_999], ["\t\t ", 9_999],
            ["The quick brown fox's 12 dens. ", 3_000], ["xyzzy\U0001f600", 9_000], ["<|endoftext|", 5_000], ["=-", 30_000]]
# Text that is no UTF-8, in hexadecimal; the original is given what Python's errors="replace" makes of it.
INVALID = ["ff", "61ff62", "e282", "e282e282ac", "f09f91", "f09f9120f09f918d", "c080", "eda080", "edbfbf", "f4908080", "f8888080", "80", "8080bf78",
           "e08078", "f09080ff", "48656c6c6ffe20c3", "c3c3a9", "20e4b8ad20e4b820e4b8ade4", "3c7c656e646f66ff746578747c3e"]
# Words of 100,000 bytes, about: a name, and the characters to draw from.
WORDS = [["letters", "abcdefghijklmnopqrstuvwxyz"], ["base64", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"],
         ["two letters", "ab"], ["binary", "01"], ["hangul", "".join(map(chr, range(0xAC00, 0xAC00 + 900)))], ["cjk", "".join(map(chr, range(0x4E00, 0x4E00 + 3000)))],
         ["emoji", "".join(map(chr, range(0x1F600, 0x1F640))) + "\u200d\ufe0f"], ["punctuation", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"], ["whitespace", " \t\n\r\u00a0"],
         ["arabic", "".join(map(chr, range(0x621, 0x653)))]]
# What random text is made of: what the patterns and NFC tell apart, often with each other.
ALPHABET = [" ", " ", "  ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u0085", "\u2028", "\u3000", "\u000b", "\u001c", "\u180e", "\ufeff", "'", "'s", "'S", "'t", "'Re", "'rE", "'ve", "'VE",
            "'m", "'M", "'ll", "'lL", "'LL", "'d", "'D", "'\u017f", "'K", "\u2019s", "s", "S", "t", "re", "ve", "l", "L", "d", "x", "the", "The", "of", "\u017f", "\u212a", "1", "9", "12", "2345",
            "\u00bd", "\u0663", "\u2167", "\u3007", "\U0001d7d8", "\u4e2d", "\u6587", "\u3042", "\ud55c", "\u1112", "\u1161", "\u11ab", "\u00e9", "e\u0301", "A", "\u030a", "\u0301", "\u0323",
            "\u0327", "\u0344", "\u212b", "\u0958", "\u0915\u093c", "\u1e9b\u0323", "\u0f73", "\u1ac6", "\u089a", "\ufb01", "!", ".", ",", "\"", "_", "-", "<", "/", "(", "$", "\u2014", "\u20ac", "\u200d", "\u200b",
            "\U0001f44d", "\U0001f3fd", "\u0000", "\ufffd", "<|endoftext|>", "\U0002ebf0", "\U00016d40", "\u1c89"]
BLOCKS, BLOCK, LONGEST = 20, 200, 14  # of random texts: how many blocks of how many, of how many pieces at most
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


class Splitmix:
    """Random numbers that are easily had in any language (Steele, Lea and Flood 2014)."""
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return (z ^ (z >> 31)) % n


def random_texts():
    """BLOCKS lists of BLOCK texts, of 1 to LONGEST pieces of ALPHABET; every fourth piece is that before it again."""
    rng = Splitmix(1)
    for _ in range(BLOCKS):
        block = []
        for _ in range(BLOCK):
            text, last = "", ""
            for _ in range(1 + rng.below(LONGEST)):
                if not last or rng.below(4) > 0:
                    last = ALPHABET[rng.below(len(ALPHABET))]
                text += last
            block.append(text)
        yield block


def long_words():
    """The texts of WORDS."""
    for seed, (_, characters) in enumerate(WORDS):
        rng = Splitmix(seed)
        yield "".join(characters[rng.below(len(characters))] for _ in range(100_000 // len(characters[0].encode())))


def sha_text(s):
    return hashlib.sha256(s.encode()).hexdigest()[:8]


def splits():
    """For each pattern, a hash over the lengths in bytes of the pieces it divides each block's texts into."""
    for pattern in (GPT2, LLAMA3, QWEN2):
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        yield {"pattern": pattern, "blocks": [sha([len(piece.encode()) for text in block for piece, _ in split.pre_tokenize_str(text)]) for block in random_texts()]}


def nfc():
    """Hashes over the normalisation of each block's texts, and of every code point in between combining marks, by 65,536."""
    form = normalizers.NFC().normalize_str
    around = lambda c: "".join(form(s) for s in ("a" + c + "\u0301\u0323", "\u1100" + c))
    planes = [sha_text("".join(around(chr(c)) for c in range(p << 16, p + 1 << 16) if not 0xD800 <= c < 0xE000)) for p in (0, 1, 2)]
    crowded = ["a" + "\u0301\u0323" * 40, "\u1ead" + "\u0327\u0301" * 9 + "\uac00\u11a8", "\u0f73" * 30 + "x\u0301"]
    return {"blocks": [sha_text("".join(map(form, block))) for block in random_texts()], "planes": planes,
            "crowded": [[s, form(s)] for s in crowded]}


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


def random_ids(t, blocks=BLOCKS):
    """A hash over the ids of each of the first blocks' texts."""
    return [sha(sum(encode(t, block, True), [])) for block in islice(random_texts(), blocks)]


def codegen(t):
    """CodeGen's vocabulary, which Phi-2 has: GPT-2's, and runs of spaces and tabs as added tokens that are not special."""
    runs = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
    t.add_tokens([AddedToken(s, special=False, normalized=True) for s in runs])
    assert t.token_to_id(" " * 31) == 50257 and t.token_to_id("\t\t") == 50294
    return t


def real(t, rng):
    golden = {"special": encode(t, HARD, True), "plain": encode(t, HARD, False), "decode": decodings(t, rng),
              "repeated": [sha(ids) for ids in encode(t, [s * n for s, n in REPEATED], True)], "rows": {},
              "words": [sha(ids) for ids in encode(t, list(long_words()), True)],
              "invalid": encode(t, [bytes.fromhex(h).decode("utf-8", "replace") for h in INVALID], True), "blocks": random_ids(t)}
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


def trained(pattern, normalizer, ignore_merges):
    """A byte-level BPE of 700 tokens trained on HARD, divided by a pattern, as tokenizer.json."""
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.normalizer, t.decoder = normalizer, decoders.ByteLevel()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.train_from_iterator(HARD + TINY * 2, trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=["<|begin|>", "<|endoftext|>"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return t


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
        "hard": HARD, "repeated": REPEATED, "invalid": INVALID, "words": WORDS, "alphabet": ALPHABET, "blocks": [BLOCKS, BLOCK, LONGEST],
        "classes": classes(), "splits": list(splits()), "nfc": nfc(),
        "gpt2": real(from_gguf(SHARED / "tokenizers/gpt-2.gguf", level), rng),
        "codegen": real(codegen(from_gguf(SHARED / "tokenizers/gpt-2.gguf", level)), rng),
        "smollm2": real(from_gguf(PEERS / "models/smollm2-bf16.gguf", pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), level])), rng),
        "smollm2_json": real(Tokenizer.from_file(str(PEERS / "models/smollm2/tokenizer.json")), rng),
        "tiny": base, "texts": VARIANT_TEXTS, "trained": [], "variants": [],
    }
    for name, t in (("llama3", trained(LLAMA3, None, True)), ("qwen2", trained(QWEN2, normalizers.NFC(), False))):
        golden["trained"].append({"name": name, "file": json.loads(t.to_str()), **real(t, rng)})
    for name, top, model in variants(base):
        t = Tokenizer.from_str(json.dumps({**base, **top, "model": {**base["model"], **model}}))
        golden["variants"].append({
            "name": name, "top": top, "model": model, "special": encode(t, VARIANT_TEXTS, True), "plain": encode(t, VARIANT_TEXTS, False),
            "blocks": random_ids(t, 3), "prompt": [e.ids for e in t.encode_batch(VARIANT_TEXTS, add_special_tokens=True)], "decode": decodings(t, rng)[:10]})
    out = HERE / "tokenizer" / "vectors.json"
    out.parent.mkdir(exist_ok=True)
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=True, separators=(',', ':'))}" for k, v in golden.items()]
    out.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
