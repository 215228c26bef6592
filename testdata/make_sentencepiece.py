"""Writes the vectors of SentencePiece's vocabularies, testdata/tokenizer/sentencepiece.json and the
small vocabulary in testdata/tokenizer/sentencepiece/, with sentencepiece, tokenizers and Transformers.

    python3 testdata/make_sentencepiece.py

Needs sentencepiece, protobuf, tokenizers, transformers, jinja2 and gguf from PyPI, and the folder of
real rows and vocabularies (SERVEBENCH_SHARED). Of real rows and of the real vocabulary only hashes
of ids are written, and of most other ids and texts for the size. The small one is trained on the project's own text.
"""
import base64
import importlib.metadata
import io
import json
import os
import random
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb2
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaTokenizer

from make_chat import TALKS
from make_dummy_vocabulary import corpus
from make_tokenizer import HARD, HERE, REPEATED, SHARED, dataset_rows, encode, sha

# What goes wrong with vocabularies of this kind in particular.
TEXTS = HARD + [
    "▁", "▁▁", " ▁ ", "a▁b", "x▁ ▁y", "▁the the", "   three   four    ", "\n\n  \t x", "the<s> the</s>the <unk> <s>", "<s>", " <s>the", "<s> <s>the", "<s>\n",
    "<0x0A>", "<0x41>", "the <0xE2><0x96><0x81>", "[INST] the [/INST]", "<s>[INST] the [/INST] the </s><s>[INST] a [/INST]", "\ue000\U000f0000 x", "zqzq the qqq", "the\u00a0the\u3000the",
    "foobar foo bar the foo<sep>the", "<sep>", "the<sep>", "<sep> the", "▁▁▁foobar", "thethethethe", "aaaaaaaaa bbbbbbbb", "eeee e e ee", "          ten", "<a> <a><b> x  <l>  x<r>  y word words",
]
LONG = REPEATED + [["the", 40_000], ["e", 99_999], ["\u4e2d\u6587", 20_000], ["\u00a0", 20_000], ["th\u00e9\U0001f600", 15_000]]
SHORTER = 50  # the part of that which the many small vocabularies get

# Published with the models, in their tokenizer_config.json.
LLAMA2 = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
MISTRAL = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"


def train(size, **options):
    """A SentencePiece BPE as Mistral's was trained, smaller."""
    model = io.BytesIO()
    lines = [line for text in corpus() for line in text.split("\n") if line.strip()]
    sentencepiece.SentencePieceTrainer.train(**{**dict(
        sentence_iterator=iter(lines), model_writer=model, model_type="bpe", vocab_size=size, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, character_coverage=0.9995,
        allow_whitespace_only_pieces=True, num_threads=1, minloglevel=2), **options})
    proto = pb2.ModelProto.FromString(model.getvalue())
    proto.trainer_spec.ClearField("model_prefix")
    return proto


def models():
    """Small models, each with something of SentencePiece's in it."""
    yield "plain", train(420)
    yield "no prefix", train(420, add_dummy_prefix=False)
    yield "extra whitespace removed", train(420, remove_extra_whitespaces=True)
    yield "no byte fallback", train(170, byte_fallback=False)
    yield "user-defined", train(440, user_defined_symbols=["<sep>", "foo", "foobar", "▁▁▁", "x▁", "é"])
    yield "control", train(420, control_symbols=["<sep>", "the"])
    scores = random.Random(3)
    p = train(420)
    for piece in p.pieces[259:]:
        piece.score = -scores.randrange(9)
    yield "scores in no order", p
    p = train(420)
    for piece in p.pieces[259:]:
        piece.score = -1
    yield "equal scores", p
    p = train(420)
    lacking = pb2.ModelProto.FromString(p.SerializeToString())
    del lacking.pieces[:]
    lacking.pieces.extend(q for q in p.pieces if q.piece not in "ethqx▁")
    yield "characters missing", lacking
    p = train(420)
    texts = {q.piece for q in p.pieces[259:]}
    for piece in p.pieces[259:]:
        s = piece.piece
        ways = sum(s[:i] in texts and s[i:] in texts for i in range(1, len(s)))
        if ways == 1 and scores.random() < 0.3:
            piece.type = pb2.ModelProto.SentencePiece.UNUSED
    yield "unused", p


def decodings(decode, size, byte, rng):
    """Random ids, half of them single bytes, and their text with and without special tokens."""
    out = []
    for n in list(range(1, 9)) + [30] * 4:
        ids = [byte + rng.choice([0x41, 0x20, 0xC3, 0xA9, 0xE2, 0x96, 0x81, 0xF0, 0x9F, 0x98, 0x80, 0xFF, rng.randrange(256)]) if rng.random() < 0.5
               else rng.choice([0, 1, 2, rng.randrange(size)]) for _ in range(n)]
        out.append({"ids": ids, "text": decode(ids, skip_special_tokens=False), "skipped": decode(ids, skip_special_tokens=True)})
    return out


def continuations(decode, texts, ids_of, rng):
    """Ids cut in two: the text of both less that of the first."""
    out = []
    for text in rng.sample(texts, 8):
        ids = ids_of(text)
        at = rng.randrange(min(len(ids), 12) + 1)
        ids = ids[:at + 12]
        before, all_ = decode(ids[:at], skip_special_tokens=True), decode(ids, skip_special_tokens=True)
        if all_.startswith(before) and "\ufffd" not in all_:
            out.append({"prompt": ids[:at], "ids": ids[at:], "text": all_[len(before):]})
    return out


def sentencepiece_golden(proto, part):
    sp = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    ids = [sp.encode(s) for s in TEXTS]
    return {"plain": [sha(i) for i in ids], "text": [sha(sp.decode(i).encode()) for i in ids], "long": [sha(sp.encode(s * (n // part))) for s, n in LONG]}


def to_json(path):
    """What Transformers makes of a tokenizer.model, with bos_token before a prompt."""
    return json.loads(LlamaTokenizer.from_pretrained(path, add_bos_token=True)._tokenizer.to_str())


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
LEGACY = {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}, "pre_tokenizer": None}


def variants(base):
    """Changes of the base's top-level keys and of its model's, each for a feature of tokenizer.json."""
    meta = lambda **kw: {"pre_tokenizer": {"type": "Metaspace", "replacement": "▁", **kw}}
    vocab, size = base["model"]["vocab"], len(base["model"]["vocab"])
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    added = lambda *tokens: {"added_tokens": base["added_tokens"] + [{"id": size + i, "content": c, **flags, **kw} for i, (c, kw) in enumerate(tokens)]}
    changed = lambda **kw: {"added_tokens": [{**a, **kw} for a in base["added_tokens"]]}
    some = added(("<a>", {"special": True}), ("<a><b>", {}), ("<l>", {"lstrip": True, "special": True}), ("<r>", {"rstrip": True}), ("word", {"single_word": True}),
                 ("é", {"normalized": True}), ("[INST]", {"normalized": True}), ("the", {"normalized": True, "lstrip": True}), ("\n", {}), ("x ▁y", {"normalized": True}), ("  ", {}))
    metaspace = {"decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}}
    without = lambda drop: dict(zip((k for k in vocab if not drop(k)), range(size)))
    merges = lambda v: [m for m in base["model"]["merges"] if m[0] in v and m[1] in v and m[0] + m[1] in v]
    no_x = without(lambda k: k in "xqé" or k.startswith("<0x") and k[3] in "89ABCDEF")
    few = without(lambda k: k.startswith("<0xE") or k in "zé")
    bare = without(lambda k: k.startswith("<0x") or k in "zé")
    unadded = {"added_tokens": [], "post_processor": None}
    yield "first", {}, {}
    yield "always", meta(prepend_scheme="always", split=False), {}
    yield "never", meta(prepend_scheme="never", split=False), {}
    yield "split", meta(prepend_scheme="first", split=True), {}
    yield "split, always, by default", meta(prepend_scheme="always"), {}
    yield "old metaspace", {**meta(add_prefix_space=True, str_rep="▁"), **metaspace}, {}
    yield "metaspace decoder, first", {"decoder": {**metaspace["decoder"], "prepend_scheme": "first"}}, {}
    yield "metaspace decoder, never", {"decoder": {**metaspace["decoder"], "prepend_scheme": "never"}}, {}
    yield "legacy", LEGACY, {}
    yield "legacy, merges in one string", LEGACY, {"merges": [" ".join(m) for m in base["model"]["merges"]]}
    yield "legacy, specials normalized", {**LEGACY, **changed(normalized=True)}, {}
    yield "legacy, added", {**LEGACY, **some}, {}
    yield "first, added", some, {}
    yield "always, added", {**some, **meta(prepend_scheme="always", split=False)}, {}
    yield "split, added", {**some, **meta(prepend_scheme="first", split=True)}, {}
    yield "replace alone", {"normalizer": REPLACE, "pre_tokenizer": None}, {}
    yield "NFC, prepend, replace", {**LEGACY, "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, *LEGACY["normalizer"]["normalizers"]]}}, {}
    yield "replace another, metaspace", {"normalizer": {"type": "Replace", "pattern": {"String": "the"}, "content": "  x"}}, {}
    yield "no strip", {"decoder": {"type": "Sequence", "decoders": base["decoder"]["decoders"][:3]}}, {}
    yield "ignore_merges", LEGACY, {"ignore_merges": True, "vocab": {**vocab, "▁foobar▁foo": size, "▁zqzq": size + 1}}
    yield "ignore_merges, split", meta(prepend_scheme="first", split=True), {"ignore_merges": True, "vocab": {**vocab, "▁wordsy": size, "▁zqzq": size + 1}}
    yield "unknown, fused", {**LEGACY, **unadded}, {"byte_fallback": False, "vocab": bare, "merges": merges(bare), "unk_token": "<unk>", "fuse_unk": True}
    yield "unknown, not fused", {**LEGACY, **unadded}, {"byte_fallback": False, "vocab": bare, "merges": merges(bare), "unk_token": "<unk>", "fuse_unk": False}
    yield "no unknown", {**LEGACY, **unadded}, {"byte_fallback": False, "vocab": bare, "merges": merges(bare), "unk_token": None}
    yield "bytes missing", {**LEGACY, **unadded}, {"vocab": few, "merges": merges(few), "unk_token": "<unk>", "fuse_unk": True}
    yield "bytes missing, not fused", {**LEGACY, **unadded}, {"vocab": few, "merges": merges(few), "unk_token": "<unk>", "fuse_unk": False}
    yield "bytes missing, unknown split", {**meta(prepend_scheme="first", split=True), **unadded}, {"vocab": no_x, "merges": merges(no_x), "unk_token": "<unk>", "fuse_unk": True}


def configs():
    """What is beside the vocabulary in a folder."""
    tokens = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    llama = {**tokens, "tokenizer_class": "LlamaTokenizer"}
    for model in ("llama", "mistral", None):
        config = {"config.json": {"model_type": model}} if model else {}
        for name, c in {
            "no class": tokens, "llama": llama, "llama, legacy": {**llama, "legacy": True}, "fast, not legacy": {**llama, "tokenizer_class": "LlamaTokenizerFast", "legacy": False},
            "bos": {**llama, "add_bos_token": True, "legacy": False, "add_eos_token": False}, "bos, eos, legacy": {**llama, "add_bos_token": True, "add_eos_token": True, "legacy": True},
            "no bos": {**llama, "add_bos_token": False}, "no prefix space": {**llama, "add_prefix_space": False, "add_bos_token": True}, "nulls": {**llama, "legacy": None, "add_prefix_space": None},
            "added": {**llama, "add_bos_token": True, "added_tokens_decoder": {
                **{str(i): {"content": c, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True} for i, c in enumerate(["<unk>", "<s>", "</s>"])},
                "SIZE": {"content": "<|im_start|>", "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}}},
        }.items():
            if not model and "," in name:
                continue
            yield f"{model}: {name}", {**config, "tokenizer_config.json": c}


FOLDER_TEXTS = ["", "the", " the x", "the<s> x</s>y", "<s>[INST] the [/INST]", "  \n the<unk>", "<|im_start|>the é\U0001f600"]


def folders(files, size):
    """What Transformers makes of folders: with a tokenizer.json of either form, or a tokenizer.model."""
    for name, around in configs():
        around = json.loads(json.dumps(around).replace("SIZE", str(size)))
        for kind, file in files.items():
            # Of a model alone, for another class than Llama's, Transformers 5 forgets the dummy prefix.
            if kind == "tokenizer.model" and (name.startswith("mistral") or name.endswith("no class")):
                continue
            # and adds no token to a tokenizer.json that lacks it before it has read all of it
            if kind != "tokenizer.model" and name.endswith("added"):
                continue
            with tempfile.TemporaryDirectory() as d:
                (Path(d) / kind.split(" ")[0]).write_bytes(file)
                for f, content in around.items():
                    (Path(d) / f).write_text(json.dumps(content))
                t = AutoTokenizer.from_pretrained(d)
                ids = [t(s)["input_ids"] for s in FOLDER_TEXTS]
                yield {"name": f"{name}: {kind}", "file": kind, "around": around, "prompt": ids,
                       "text": [t.decode(i, skip_special_tokens=False) for i in ids], "skipped": [t.decode(i, skip_special_tokens=True) for i in ids]}


def chats(files):
    """The published templates, rendered and encoded."""
    for name, template, kind, around in (
            ("llama-2-chat", LLAMA2, "tokenizer.json legacy", {"config.json": {"model_type": "llama"}, "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": False}}),
            ("mistral-instruct", MISTRAL, "tokenizer.json legacy", {"config.json": {"model_type": "mistral"}, "tokenizer_config.json": {"tokenizer_class": "LlamaTokenizer", "legacy": True}})):
        around["tokenizer_config.json"].update(bos_token="<s>", eos_token="</s>", unk_token="<unk>", add_bos_token=True, chat_template=template)
        with tempfile.TemporaryDirectory() as d:
            (Path(d) / "tokenizer.json").write_bytes(files[kind])
            for f, content in around.items():
                (Path(d) / f).write_text(json.dumps(content))
            t = AutoTokenizer.from_pretrained(d)
            cases = []
            for talk, messages in TALKS.items():
                for generate in (False, True):
                    try:
                        text = t.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
                        ids = t.apply_chat_template(messages, tokenize=True, add_generation_prompt=generate, return_dict=False)
                        cases.append({"talk": talk, "generate": generate, "text": text, "ids": ids})
                    except Exception as e:  # the template's own
                        cases.append({"talk": talk, "generate": generate, "error": f"{type(e).__name__}: {e}"})
            yield {"name": name, "file": kind, "around": around, "cases": cases}


def llama():
    """Llama 2's own vocabulary: as a SentencePiece model, and as what Transformers makes of that."""
    fields = gguf.GGUFReader(SHARED / "tokenizers/llama-spm.gguf").fields
    get = lambda key: fields["tokenizer.ggml." + key].contents()
    proto = pb2.ModelProto()
    for token, score, kind in zip(get("tokens"), get("scores"), get("token_type")):
        proto.pieces.add(piece=token, score=score, type=kind)
    proto.trainer_spec.model_type, proto.trainer_spec.byte_fallback, proto.trainer_spec.unk_id = 2, True, 0
    proto.normalizer_spec.name, proto.normalizer_spec.remove_extra_whitespaces = "identity", False
    sp = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / "tokenizer.model").write_bytes(proto.SerializeToString())
        base = to_json(d)
    originals = {
        "sentencepiece": lambda texts: [sp.encode(s) for s in texts],
        "first": lambda texts, t=Tokenizer.from_str(json.dumps(base)): encode(t, texts, True),
        "legacy": lambda texts, t=Tokenizer.from_str(json.dumps({**base, **LEGACY})): encode(t, texts, True),
    }
    golden = {}
    for name, ids_of in originals.items():
        part = 1 if name == "sentencepiece" else SHORTER
        golden[name] = {"texts": [sha(i) for i in ids_of(TEXTS)], "long": [sha(i) for i in ids_of([s * (n // part) for s, n in LONG])],
                        "rows": {file: [sha(sum(ids_of(texts), [])) for texts in rows] for file, rows in dataset_rows()}}
    golden["merges"] = sha([base["model"]["vocab"][s] for m in base["model"]["merges"] for s in m])
    return golden


def main():
    rng = random.Random(5)
    folder = HERE / "tokenizer" / "sentencepiece"
    folder.mkdir(exist_ok=True)
    proto = train(1200)
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    base = to_json(str(folder))
    (folder / "tokenizer.json").write_text(json.dumps(base, ensure_ascii=False, separators=(",", ":")) + "\n")
    files = {"tokenizer.model": proto.SerializeToString(), "tokenizer.json first": json.dumps(base).encode(), "tokenizer.json legacy": json.dumps({**base, **LEGACY}).encode()}
    golden = {
        "command": "python3 testdata/make_sentencepiece.py",
        "versions": {p: importlib.metadata.version(p) for p in ("sentencepiece", "tokenizers", "transformers")},
        "texts": TEXTS, "long": LONG, "shorter": SHORTER, "folder_texts": FOLDER_TEXTS, "legacy": LEGACY,
        "model": sentencepiece_golden(proto, 1), "models": [], "variants": [],
        "folders": list(folders(files, len(proto.pieces))), "chats": list(chats(files)), "talks": TALKS, "llama": llama(),
    }
    for name, p in models():
        golden["models"].append({"name": name, "model": base64.b64encode(p.SerializeToString()).decode(), **sentencepiece_golden(p, SHORTER)})
    for name, top, model in variants(base):
        t = Tokenizer.from_str(json.dumps({**base, **top, "model": {**base["model"], **model}}))
        byte = t.token_to_id("<0x00>") or 3
        if "vocab" in model:  # only what differs, by the ids that are left
            model = {**model, "vocab": [base["model"]["vocab"].get(k, k) for k in sorted(model["vocab"], key=model["vocab"].get)]}
        if "merges" in model:
            model["merges"] = " " if isinstance(model["merges"][0], str) else []  # the base's, where they can be
        golden["variants"].append({
            "name": name, "top": top, "model": model, "special": [sha(i) for i in encode(t, TEXTS, True)], "plain": [sha(i) for i in encode(t, TEXTS, False)],
            "prompt": [sha(e.ids) for e in t.encode_batch(TEXTS, add_special_tokens=True)], "decode": decodings(t.decode, t.get_vocab_size(), byte, rng),
            "long": [sha(i) for i in encode(t, [s * (n // SHORTER) for s, n in LONG], True)],
            "after": continuations(t.decode, TEXTS, lambda s, t=t: t.encode(s).ids, rng)})
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=True, separators=(',', ':'))}" for k, v in golden.items()]
    (HERE / "tokenizer" / "sentencepiece.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
