"""Writes the vocabulary that goes with dummy weights, serving/tokenizer/dummy.json, with the tokenizers package.

    python3 testdata/make_dummy_vocabulary.py

A byte-level BPE of 4096 tokens with GPT-2's pre-tokenizer, trained on the project's own prompts
(testdata/prompts, datasets/warmup) and the common words below. What it is for is that prompts have
about as many tokens as a real model would see, with no network. There is no need to make it again
when the prompts change; when it is, dummy models see other ids.
"""
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parent.parent
VOCABULARY = 4096

# Common English words, from the most frequent kinds down; each line is repeated by its weight.
WORDS = {
    24: """the of and to in a is that it for was on are as with his they at be this from I have or by one had not but what all
        were when we there can an your which their said if will each about how up out them then she many some so these would
        other into has more her two like him see time could no make than first been its who now people my made over did down
        only way find use may water long little very after words called just where most know""",
    12: """get through back much before go good new write our used me man too any day same right look think also around another
        came come work three word must because does part even place well such here take why help put different away again off
        went old number great tell men say small every found still between name should home big give air line set own under
        read last never us left end along while might next sound below saw something thought both few those always looked show
        large often together asked house world going want school important until form food keep children feet land side
        without boy once animal life enough took sometimes four head above kind began almost live page got earth need far hand
        high year mother light country father let night following picture being study second soon story since white ever paper
        hard near sentence better best across during today however sure knew try told young sun thing whole hear example heard
        several change answer room sea against top turned learn point city play toward five using himself usually money seen
        car morning body upon family later turn move face door cut done group true half red fish plants living black eat short
        United States run book gave order open ground cold really table remember tree course front American space inside ago""",
    6: """government company police president minister officials reported according court state national public million percent
        week month season team game player club league world cup win won lost final match coach goal points power service
        information system program problem question result report research science data computer model language server
        software network machine code function method class value error string list number return file user test example
        million billion hundred thousand yesterday Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February
        March April May June July August September October November December north south east west war peace history century
        battle army king queen prince England London France Paris Germany Britain British European Union China Japan India
        Africa Australia Canada Russia America New York California Texas Washington music film song actor author novel title
        wrote written born died married daughter son wife husband brother sister parents friend doctor hospital medical health
        disease treatment patient drug blood heart brain death killed attack victim arrested charged prison trial judge lawyer
        explain describe compare difference between advantages write poem short story recipe steps list following sentence
        paragraph summary translate create design build improve develop business market price cost product customer sales
        money economy bank tax law policy vote election party campaign leader member support decision plan project future""",
}


def strings(value):
    """All strings of a JSON value that look like text rather than a key or an id."""
    if isinstance(value, str) and " " in value:
        yield value
    elif isinstance(value, (dict, list)):
        for v in value.values() if isinstance(value, dict) else value:
            yield from strings(v)


def corpus():
    for weight, words in WORDS.items():
        yield from [" " + " ".join(words.split())] * weight
        yield " " + " ".join(w.capitalize() for w in words.split())
    for path in sorted([*ROOT.glob("testdata/prompts/*.jsonl"), *ROOT.glob("datasets/warmup/*.jsonl")]):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from strings(json.loads(line))


def main():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), max_token_length=16))
    file = json.loads(t.to_str())
    file["model"]["merges"] = [" ".join(m) for m in file["model"]["merges"]]
    out = ROOT / "serving" / "tokenizer" / "dummy.json"
    out.write_text(json.dumps(file, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    Tokenizer.from_file(str(out))


if __name__ == "__main__":
    main()
