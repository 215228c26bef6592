// Package tokenizer turns text into a model's token ids and back, and messages
// into the prompt text that its chat template writes. What it gives is exactly
// what the tokenizers package (the one under Transformers, vLLM and TGI) gives:
// the tests compare ids on real prompts, on hard text and feature by feature.
//
// # From a model to a Tokenizer
//
//  1. Open tells a folder from a GGUF file.
//  2. FromFolder (folder.go) reads a folder. parseJSON (json.go, json_pieces.go)
//     takes the normaliser, the model, the pre-tokeniser and the post-processor out
//     of tokenizer.json and refuses by name what it lacks; where there is no such
//     file, parseModel (sentencepiece_model.go) reads tokenizer.model. The files
//     beside it say which tokens have a role, which end a generation, what
//     Transformers' class changes (class.go), and what the chat template is.
//     FromGGUF (gguf.go) takes the same from a GGUF file's metadata.
//  3. Both fill in a vocabulary (vocabulary.go). vocabulary.tokenizer checks it
//     and makes the tables that encoding and decoding look up. A vocabulary that
//     lies is refused before anything is allocated by what it says: ids twice,
//     beyond the number of tokens or with holes, merges of unknown tokens.
//  4. Dummy (dummy.go) is a small vocabulary of the project's own, for dummy weights.
//
// # From text to ids
//
//  1. Encode reads ill-formed UTF-8 as U+FFFD (alphabet.go).
//  2. It cuts out added tokens (added.go): the longest at the leftmost place.
//     Those that are special are text where the caller says so.
//     Then what is between them is normalised (normalize.go, nfc.go), which for
//     most vocabularies changes nothing.
//  3. The steps of the pre-tokeniser divide it into words (split.go). The published
//     patterns are scanners written by hand: none needs to go back further than
//     one character, or past the last end of a line.
//  4. bpe.encode (bpe.go) looks a word up whole, and joins its bytes by merges
//     (merges.go) where it is no token: in short words by scanning for the lowest
//     pair, in long ones window by window with a tree of pairs (mergetree.go).
//  5. EncodePrompt adds what the post-processor puts around a prompt.
//
// In a vocabulary of SentencePiece's kind (Llama 2, Mistral), pieces.encode
// (sentencepiece.go) takes the place of 3 and 4. A space is a character like
// others there, and what begins a text gets one more. So the whole text is one
// word; but it is cut wherever no merge can join what is left and right, which is
// before nearly every space, and then looked up or merged as above, by
// characters. One that is in no piece is written in tokens of its bytes.
// learnPieces (learn_pieces.go) makes the tables. There are two kinds of merges,
// and each is as in its original: those of tokenizer.json have a rank each; those
// of tokenizer.model and GGUF follow from the scores of pieces, as in the
// sentencepiece package, where any two neighbours that spell a piece are joined.
// On the 699 rows of real text of the tests all three give the originals' ids.
//
// # From ids to text
//
// Decode joins the bytes of ids and replaces what is no UTF-8 by U+FFFD, a
// maximal ill-formed piece by one. A Stream does the same id by id: it holds back
// at most three bytes, until they are a character or can no longer become one.
//
// SentencePiece's vocabularies have two rules more (decode.go). A run of byte
// tokens that is no UTF-8 as a whole is a U+FFFD a byte; a Stream does not wait for
// the end of a run, and leaves the characters that it has returned. And the space
// that was put before a text is taken away again at its beginning, and only there:
// the first token of an answer keeps its space if the prompt has text. So detokenise
// an answer with StreamAfter(prompt, skipSpecial), all of it and for answers in one
// piece as well: what it returns is Decode of prompt and answer less Decode of
// prompt, which is what vLLM and TGI return. Decode and Stream are for ids that are
// a text of their own. For byte-level vocabularies it makes no difference.
//
// # Chat
//
//  1. parseChatTemplate (jinja.go) parses the model's Jinja template with gonja,
//     in the environment of Transformers: trim_blocks and lstrip_blocks
//     (jinja_source.go), raise_exception, strftime_now and the methods of Python's
//     strings (jinja_python.go), tojson (jinja_json.go), loop controls, {% generation %}.
//  2. Chat renders messages. A model without a template, such as GPT-2, gets
//     DefaultChatTemplate: lines of "Role: content", then "Assistant:".
//  3. A rendering is bounded (jinja_guard.go), in loops, depth, sizes and time:
//     a template is part of a model that somebody downloaded.
//  4. The text is encoded as a whole with specials recognised, as vLLM and
//     Transformers do. So a message's content that spells out a special token has
//     that token: whoever may send messages may end a turn in the middle of one.
//
// Jinja that gonja lacks is an error of Chat: ( … if … else … ) in brackets, a
// method of an expression in brackets, unpacking in set, macros' varargs and
// kwargs, adjacent strings, the filters format and indent. The operators * and **
// are refused, because they make large values. Not noticed are: an undefined
// variable or none added to a string (nothing is added; Jinja fails), none
// written out (nothing, not None), chained comparisons, indexing of non-ASCII
// strings, lists written out with quotes or escapes in them. TestChatSnippets
// lists them all.
//
// # What is there, and where the rest goes
//
// Byte-level BPE with the pre-tokenisers ByteLevel and Digits, and the patterns of
// GPT-2 (CodeGen's and Phi-2's too, which have added tokens besides), Llama 3 and
// Qwen 2 as a Split. Another pattern is a scanner and its spelling in split.go, and
// its name in gguf.go. Time is linear in the length of a text, and memory a small
// multiple of it, also where the text is one word: 15 to 60 MB/s on one core of an
// AMD EPYC (Zen 4), the same from 10 KB to 7 MB, and 5 to 11 bytes allocated for
// one (BenchmarkEncode, BenchmarkLongWord).
//
// SentencePiece BPE from all three files. What is refused: Unigram models, a map
// of characters (nmt_nfkc), whitespace as a suffix, the normalisers other than NFC,
// Prepend and Replace, unused pieces that can be made in several ways. Known to be
// otherwise than in the originals:
//   - Of a tokenizer.model, ids are those of the sentencepiece package. Transformers 5
//     makes merges with ranks of it, adds no space before a space, and forgets the
//     space at the beginning where the class is not Llama's.
//   - Special tokens that are marked as normalized are left out of text like others;
//     tokenizers 0.23 does not find them where the normaliser is Prepend.
//   - Text is always written as Transformers does: <unk> for the unknown piece, and one
//     space less at the beginning, also for models that remove extra whitespace.
package tokenizer
