package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrNoKey is returned, wrapped with the key, when the metadata lacks a key.
var ErrNoKey = errors.New("key not in the GGUF metadata")

// kind is the type of a metadata value, as the file numbers them.
type kind uint32

const (
	kindUint8 kind = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

var kinds = map[kind]struct {
	name string
	size uint64 // bytes of one element; 0 where it varies
}{
	kindUint8: {"uint8", 1}, kindInt8: {"int8", 1}, kindUint16: {"uint16", 2}, kindInt16: {"int16", 2},
	kindUint32: {"uint32", 4}, kindInt32: {"int32", 4}, kindUint64: {"uint64", 8}, kindInt64: {"int64", 8},
	kindFloat32: {"float32", 4}, kindFloat64: {"float64", 8}, kindBool: {"bool", 1},
	kindString: {"string", 0}, kindArray: {"array", 0},
}

func (k kind) String() string { return kinds[k].name }

// minValue is the size of the smallest value: an empty key, a type, a byte.
const minValue = 8 + 4 + 1

// maxNesting bounds arrays of arrays, which no known model uses.
const maxNesting = 8

// value is where a value lies in the file.
type value struct {
	kind kind
	elem kind   // of an array
	n    uint64 // elements of an array
	raw  []byte // elements of a fixed size side by side; strings each after its length
}

func (v value) String() string {
	if v.kind == kindArray {
		return fmt.Sprintf("array of %d %ss", v.n, v.elem)
	}
	return v.kind.String()
}

// Metadata is the part of a file that describes the model. Its getters return
// ErrNoKey for a missing key, and for a value of a type that does not fit an
// error that names the key, the type wanted and the type found.
type Metadata struct {
	keys   []string
	values map[string]value
}

// Keys returns the keys in the order of the file.
func (m *Metadata) Keys() []string { return m.keys }

// Has reports whether the key is present.
func (m *Metadata) Has(key string) bool {
	_, ok := m.values[key]
	return ok
}

// String returns a string.
func (m *Metadata) String(key string) (string, error) {
	v, err := m.get(key, "string", kindString)
	return string(v.raw), err
}

// Bool returns a bool.
func (m *Metadata) Bool(key string) (bool, error) {
	v, err := m.get(key, "bool", kindBool)
	return err == nil && v.raw[0] != 0, err
}

// Uint returns a value of any integer type that is not negative.
func (m *Metadata) Uint(key string) (uint64, error) {
	v, err := m.get(key, "integer", integers...)
	if err != nil {
		return 0, err
	}
	i, u := v.kind.integer(v.raw)
	if i < 0 && v.kind != kindUint64 {
		return 0, fmt.Errorf("%s is %d, want it not negative", key, i)
	}
	return u, nil
}

// Int returns a value of any integer type.
func (m *Metadata) Int(key string) (int64, error) {
	v, err := m.get(key, "integer", integers...)
	if err != nil {
		return 0, err
	}
	i, u := v.kind.integer(v.raw)
	if i < 0 && v.kind == kindUint64 {
		return 0, fmt.Errorf("%s is %d, too large for an int64", key, u)
	}
	return i, nil
}

// Float returns a value of any float or integer type; a float32 exactly.
func (m *Metadata) Float(key string) (float64, error) {
	v, err := m.get(key, "number", numbers...)
	if err != nil {
		return 0, err
	}
	return v.kind.float(v.raw), nil
}

// Strings returns an array of strings (tokenizer.ggml.tokens, tokenizer.ggml.merges).
func (m *Metadata) Strings(key string) ([]string, error) {
	v, err := m.array(key, "strings", kindString)
	if err != nil {
		return nil, err
	}
	r := &reader{data: v.raw}
	out := make([]string, v.n) // at most twice the bytes it has in the file
	for i := range out {
		out[i] = string(r.str(key))
	}
	return out, r.err
}

// Ints returns an array of any integer type (tokenizer.ggml.token_type).
func (m *Metadata) Ints(key string) ([]int64, error) {
	v, err := m.array(key, "integers", integers...)
	if err != nil {
		return nil, err
	}
	out, size := make([]int64, v.n), kinds[v.elem].size
	for i := range out {
		var u uint64
		out[i], u = v.elem.integer(v.raw[uint64(i)*size:])
		if out[i] < 0 && v.elem == kindUint64 {
			return nil, fmt.Errorf("%s: element %d is %d, too large for an int64", key, i, u)
		}
	}
	return out, nil
}

// Floats returns an array of any float or integer type (tokenizer.ggml.scores).
func (m *Metadata) Floats(key string) ([]float64, error) {
	v, err := m.array(key, "numbers", numbers...)
	if err != nil {
		return nil, err
	}
	out, size := make([]float64, v.n), kinds[v.elem].size
	for i := range out {
		out[i] = v.elem.float(v.raw[uint64(i)*size:])
	}
	return out, nil
}

var (
	integers = []kind{kindUint8, kindInt8, kindUint16, kindInt16, kindUint32, kindInt32, kindUint64, kindInt64}
	numbers  = append([]kind{kindFloat32, kindFloat64}, integers...)
)

// get finds a value of one of the kinds.
func (m *Metadata) get(key, want string, any ...kind) (value, error) {
	v, ok := m.values[key]
	if !ok {
		return value{}, fmt.Errorf("%s: %w", key, ErrNoKey)
	}
	for _, k := range any {
		if v.kind == k {
			return v, nil
		}
	}
	return value{}, fmt.Errorf("%s is of type %s, want %s", key, v, want)
}

// array finds an array of one of the kinds.
func (m *Metadata) array(key, want string, any ...kind) (value, error) {
	v, err := m.get(key, "array of "+want, kindArray)
	if err != nil {
		return value{}, err
	}
	for _, k := range any {
		if v.elem == k {
			return v, nil
		}
	}
	return value{}, fmt.Errorf("%s is an %s, want array of %s", key, v, want)
}

// integer decodes the first element of raw, in both signs; they differ only
// where one of them cannot hold the value.
func (k kind) integer(raw []byte) (int64, uint64) {
	le := binary.LittleEndian
	var i int64
	switch k {
	case kindUint8:
		i = int64(raw[0])
	case kindInt8:
		i = int64(int8(raw[0]))
	case kindUint16:
		i = int64(le.Uint16(raw))
	case kindInt16:
		i = int64(int16(le.Uint16(raw)))
	case kindUint32:
		i = int64(le.Uint32(raw))
	case kindInt32:
		i = int64(int32(le.Uint32(raw)))
	default:
		i = int64(le.Uint64(raw))
	}
	return i, uint64(i)
}

// float decodes the first element of raw.
func (k kind) float(raw []byte) float64 {
	switch k {
	case kindFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw)))
	case kindFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(raw))
	}
	i, u := k.integer(raw)
	if k == kindUint64 {
		return float64(u)
	}
	return float64(i)
}

// read walks n key-value pairs.
func (m *Metadata) read(r *reader, n uint64) error {
	m.values = map[string]value{}
	for i := uint64(0); i < n; i++ {
		key := string(r.str(fmt.Sprintf("metadata key %d", i)))
		if _, twice := m.values[key]; twice {
			r.fail("metadata key %q is there twice", key)
		}
		v := r.value(key, kind(r.u32()), 0)
		if r.err != nil {
			return r.err
		}
		m.keys = append(m.keys, key)
		m.values[key] = v
	}
	return r.err
}

// value walks over one value; key is for errors.
func (r *reader) value(key string, k kind, depth int) value {
	v := value{kind: k}
	switch t, known := kinds[k]; {
	case r.err != nil:
	case !known:
		r.fail("metadata key %q has a value of unknown type %d", key, uint32(k))
	case k == kindString:
		v.raw = r.str("the value of metadata key " + key)
	case k == kindArray:
		r.array(key, &v, depth)
	default:
		v.raw = r.take(t.size)
	}
	return v
}

// array walks over an array's elements.
func (r *reader) array(key string, v *value, depth int) {
	v.elem = kind(r.u32())
	t, known := kinds[v.elem]
	if r.err == nil && !known {
		r.fail("metadata key %q has an array of unknown type %d", key, uint32(v.elem))
	}
	if depth == maxNesting {
		r.fail("metadata key %q has arrays nested more than %d deep", key, maxNesting)
	}
	switch size := t.size; {
	case r.err != nil:
	case size > 0:
		v.n = r.count("array length of metadata key "+key, size)
		v.raw = r.take(v.n * size)
	case v.elem == kindString:
		v.n = r.count("array length of metadata key "+key, 8)
		start := r.at
		for i := uint64(0); i < v.n && r.err == nil; i++ {
			r.take(r.count("length of a string of metadata key "+key, 1))
		}
		v.raw = r.data[start:r.at]
	default: // an array of arrays is walked over; no getter returns one
		v.n = r.count("array length of metadata key "+key, 4+8)
		start := r.at
		for i := uint64(0); i < v.n && r.err == nil; i++ {
			r.array(key, &value{}, depth+1)
		}
		v.raw = r.data[start:r.at]
	}
}
