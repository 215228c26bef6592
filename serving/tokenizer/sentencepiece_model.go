package tokenizer

import (
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of SentencePiece's messages (src/sentencepiece_model.proto in google/sentencepiece).
const (
	fieldPieces     protowire.Number = 1 // ModelProto
	fieldTrainer    protowire.Number = 2
	fieldNormalizer protowire.Number = 3

	fieldPiece protowire.Number = 1 // SentencePiece
	fieldScore protowire.Number = 2
	fieldType  protowire.Number = 3

	fieldModelType    protowire.Number = 3 // TrainerSpec
	fieldSuffix       protowire.Number = 24
	fieldByteFallback protowire.Number = 35
	fieldBOS          protowire.Number = 41
	fieldEOS          protowire.Number = 42

	fieldName        protowire.Number = 1 // NormalizerSpec
	fieldCharsmap    protowire.Number = 2
	fieldDummyPrefix protowire.Number = 3
	fieldExtraSpaces protowire.Number = 4
	fieldEscape      protowire.Number = 5
)

// modelTypes are the values of TrainerSpec.ModelType.
var modelTypes = map[uint64]string{1: "UNIGRAM", 2: "BPE", 3: "WORD", 4: "CHAR"}

// field is one field of a message: number for a varint or fixed32, data for bytes.
type field struct {
	id     protowire.Number
	kind   protowire.Type
	number uint64
	data   []byte
}

// fields calls do for the fields of a message. Fields of other wire types are left out.
func fields(message []byte, do func(field) error) error {
	for len(message) > 0 {
		id, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		f := field{id: id, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var bits uint32
			bits, n = protowire.ConsumeFixed32(message)
			f.number = uint64(bits)
		case protowire.BytesType:
			f.data, n = protowire.ConsumeBytes(message)
		default:
			f.id = 0 // no field of these messages
			n = protowire.ConsumeFieldValue(id, kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if f.id == 0 {
			continue
		}
		if err := do(f); err != nil {
			return err
		}
	}
	return nil
}

// is reports whether f is the field of this number and wire type.
func (f field) is(id protowire.Number, kind protowire.Type) bool { return f.id == id && f.kind == kind }

// pieceModel is the part of a ModelProto that matters here, with proto's defaults.
type pieceModel struct {
	modelType                                   uint64
	byteFallback, suffix                        bool
	bos, eos                                    int32
	name                                        string
	charsmap                                    int
	dummyPrefix, removeExtraSpaces, escapeSpace bool
}

// parseModel reads a SentencePiece model, a tokenizer.model, which must be of the
// type BPE and change no characters.
func parseModel(data []byte) (*vocabulary, error) {
	v := &vocabulary{decoder: decodePieces, fuse: true, scores: []float64{}}
	m := pieceModel{modelType: 1, bos: 1, eos: 2, dummyPrefix: true, removeExtraSpaces: true, escapeSpace: true}
	err := fields(data, func(f field) error {
		switch {
		case f.is(fieldPieces, protowire.BytesType):
			return v.readPiece(f.data)
		case f.is(fieldTrainer, protowire.BytesType):
			return m.readTrainer(f.data)
		case f.is(fieldNormalizer, protowire.BytesType):
			return m.readNormalizer(f.data)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("not a SentencePiece model: %w", err)
	}
	switch {
	case len(v.tokens) == 0:
		return nil, fmt.Errorf("not a SentencePiece model: it has no pieces")
	case m.modelType != 2:
		name := modelTypes[m.modelType]
		if name == "" {
			name = fmt.Sprint(m.modelType)
		}
		return nil, unsupported("SentencePiece model_type", name, "BPE")
	case m.charsmap > 0:
		return nil, unsupported("SentencePiece normalizer", m.name, "identity")
	case m.suffix:
		return nil, unsupported("SentencePiece option", "treat_whitespace_as_suffix", "none")
	case !m.escapeSpace:
		return nil, unsupported("SentencePiece option", "escape_whitespaces off", "on")
	}
	v.byteFallback = m.byteFallback
	v.pieces = &pieces{squeeze: m.removeExtraSpaces}
	if m.dummyPrefix {
		v.pieces.prefix, v.strip = prefixFirst, true
	}
	v.names = map[string]string{}
	for name, id := range map[string]int32{"bos_token": m.bos, "eos_token": m.eos} {
		if id >= 0 && int(id) < len(v.tokens) && v.kinds[id] == pieceControl {
			v.names[name] = v.tokens[id]
		}
	}
	user, err := v.readKinds()
	if err != nil {
		return nil, err
	}
	for i, a := range user {
		user[i].Content = strings.ReplaceAll(a.Content, meta, " ")
		if m.removeExtraSpaces && strings.Contains(user[i].Content, " ") {
			return nil, unsupported("SentencePiece option remove_extra_whitespaces with the user-defined piece", a.Content, "one without "+meta)
		}
	}
	if len(user) > 0 {
		v.pieces.user, err = newAddedSet(user)
	}
	return v, err
}

func (v *vocabulary) readPiece(message []byte) error {
	piece, score, kind := "", 0.0, pieceNormal
	err := fields(message, func(f field) error {
		switch {
		case f.is(fieldPiece, protowire.BytesType):
			piece = string(f.data)
		case f.is(fieldScore, protowire.Fixed32Type):
			score = float64(math.Float32frombits(uint32(f.number)))
		case f.is(fieldType, protowire.VarintType):
			kind = pieceKind(f.number)
		}
		return nil
	})
	v.tokens = append(v.tokens, piece)
	v.scores = append(v.scores, score)
	v.kinds = append(v.kinds, kind)
	return err
}

func (m *pieceModel) readTrainer(message []byte) error {
	return fields(message, func(f field) error {
		if f.kind != protowire.VarintType {
			return nil
		}
		switch f.id {
		case fieldModelType:
			m.modelType = f.number
		case fieldByteFallback:
			m.byteFallback = f.number != 0
		case fieldSuffix:
			m.suffix = f.number != 0
		case fieldBOS:
			m.bos = int32(f.number)
		case fieldEOS:
			m.eos = int32(f.number)
		}
		return nil
	})
}

func (m *pieceModel) readNormalizer(message []byte) error {
	return fields(message, func(f field) error {
		switch {
		case f.is(fieldName, protowire.BytesType):
			m.name = string(f.data)
		case f.is(fieldCharsmap, protowire.BytesType):
			m.charsmap = len(f.data)
		case f.is(fieldDummyPrefix, protowire.VarintType):
			m.dummyPrefix = f.number != 0
		case f.is(fieldExtraSpaces, protowire.VarintType):
			m.removeExtraSpaces = f.number != 0
		case f.is(fieldEscape, protowire.VarintType):
			m.escapeSpace = f.number != 0
		}
		return nil
	})
}

// readKinds takes from the kinds of pieces which is the unknown one and which are
// control tokens, and returns those that are user-defined. With byte fallback
// there must be a piece for each byte.
func (v *vocabulary) readKinds() (user []addedToken, err error) {
	byteSeen, numBytes := [256]bool{}, 0
	for i, kind := range v.kinds {
		spelling := v.tokens[i]
		switch kind {
		case pieceNormal, pieceUnused:
		case pieceUnknown:
			if v.unknown != "" {
				return nil, fmt.Errorf("two unknown pieces, %q and %q", v.unknown, spelling)
			}
			v.unknown = spelling
			v.added = append(v.added, addedToken{ID: int64(i), Content: spelling, Special: true})
		case pieceControl:
			v.added = append(v.added, addedToken{ID: int64(i), Content: spelling, Special: true})
		case pieceUserDefined:
			user = append(user, addedToken{ID: int64(i), Content: spelling})
		case pieceByte:
			b, ok := byteToken(spelling)
			if !ok {
				return nil, fmt.Errorf("piece %d, %q, is not a byte such as <0x0A>", i, spelling)
			}
			if !byteSeen[b] {
				byteSeen[b] = true
				numBytes++
			}
		default:
			return nil, fmt.Errorf("piece %d, %q, is of the unknown type %d", i, spelling, kind)
		}
	}
	if v.byteFallback && numBytes < 256 {
		return nil, fmt.Errorf("byte fallback needs a piece for each of the 256 bytes; there are %d", numBytes)
	}
	if v.unknown == "" && !v.byteFallback {
		return nil, fmt.Errorf("there is no unknown piece, which a vocabulary without byte fallback needs")
	}
	return user, nil
}
