package kernels

import "fmt"

// DType is the type of a stored element.
type DType uint8

// The element types that weights and caches come in.
const (
	F32 DType = iota
	BF16
	F16
)

// Size returns the bytes of one element.
func (t DType) Size() int {
	if t == F32 {
		return 4
	}
	return 2
}

// String returns the name that --dtype takes.
func (t DType) String() string {
	switch t {
	case F32:
		return "float32"
	case BF16:
		return "bfloat16"
	case F16:
		return "float16"
	}
	return fmt.Sprintf("DType(%d)", uint8(t))
}

// Tensor is one weight as its checkpoint holds it.
type Tensor struct {
	Name  string
	Shape []int // row-major
	DType DType
	Data  []byte // little-endian elements; the device must not keep it after Load returns
}

// Layout says what a weight is used for, so that the device can store it for that.
type Layout uint8

const (
	// Matrix is [N, K], for MatMul (x·Wᵀ) and for Embed (row n is token n's vector).
	Matrix Layout = iota
	// MatrixT is a Matrix that the checkpoint holds as [K, N].
	MatrixT
	// Float is any shape kept row-major in float32: norms, biases, rotation tables.
	Float
)

// Weight is a weight in the device's own layout, made by Load, valid until the
// device is closed.
type Weight interface {
	// Dims returns N and K of a matrix; rows and columns of a Float (1 and n for a vector).
	Dims() (n, k int)
}

// Buffer is device memory for float32 activations, row-major.
type Buffer interface {
	// Dims returns the rows and columns that it was made with.
	Dims() (rows, cols int)
}

// KVShape describes a paged cache of keys and values.
type KVShape struct {
	Layers    int // L
	Blocks    int // blocks a layer has
	BlockSize int // B
	KVHeads   int // G
	HeadDim   int // E
}

// KV is a paged cache in the device's dtype. Slot s of a layer is token s%B of block s/B.
type KV interface {
	Shape() KVShape
}

// Step describes the rows that one forward pass works on. Rows of a sequence
// are consecutive, and its positions in the step are consecutive too.
// The slices belong to the caller and stay unchanged between Begin and End.
type Step struct {
	Tokens []int32 // [T] token ids
	// From is nil, or [T]: the row of the step before, of those that Draw drew a
	// token for, whose token this row takes in place of Tokens'; -1 for none. Only a
	// Drawer has it.
	From      []int32
	Positions []int32 // [T] position of each token in its sequence, from 0
	Slots     []int32 // [T] cache slot that takes the token's key and value
	Starts    []int32 // [S+1] first row of each sequence; Starts[S] = T
	Lens      []int32 // [S] tokens of the sequence in the cache once the step is done
	Blocks    []int32 // [S, MaxBlocks] cache blocks of each sequence, in order; the rest is unused
	MaxBlocks int     // row stride of Blocks
	Out       []int32 // [R] rows whose logits are wanted, ascending
	// Window is the most positions that a row sees, itself included; 0 is no
	// limit. With a limit, blocks that no row of their sequence sees into are
	// Freed in Blocks, and every Attention of the step has a window within it.
	Window int
}

// Freed stands in Step.Blocks for a block that the window has passed. Its
// memory may be another sequence's: no operation looks at it.
const Freed = -1

// Norm is a normalisation: layer norm when Mean is set, RMS when not.
type Norm struct {
	Weight Weight // Float [D]
	Bias   Weight // Float [D] or nil
	Eps    float32
	Mean   bool // subtract the mean first (layer norm)
}

// Rope is a rotary position embedding. Dims 0 means none.
type Rope struct {
	Dims  int    // leading elements of each head that are rotated; even
	Table Weight // Float [P, Dims]: Dims/2 cosines, then Dims/2 sines, of every position
}

// Attn describes the heads of one attention call.
type Attn struct {
	Heads   int     // H
	KVHeads int     // G
	HeadDim int     // E
	Scale   float32 // multiplies q·k
	Window  int     // positions a query sees, itself included; 0 is no limit
}

// Act is an activation function.
type Act uint8

const (
	// GELUTanh is 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))): GPT-2's gelu_new, Phi's too.
	GELUTanh Act = iota
	// SiLU is x / (1 + e⁻ˣ).
	SiLU
)

// Device owns memory and runs steps. One goroutine uses it at a time.
// Load, NewBuffer and NewKV return errors; a step's operations do not: the
// first thing that goes wrong is kept and End returns it, so that a device can
// queue them. Wrong shapes are a caller's bug and panic with the operation's name.
type Device interface {
	// Name describes the device for people, as "cpu (AVX-512 BF16, 2 threads)".
	Name() string
	// DType is what matrices and caches are kept in: F32 or BF16, of some devices F16.
	DType() DType
	// Load stores parts as one weight, stacked along N (Matrix, MatrixT) or
	// along rows (Float); all parts share K. Vectors are joined into a longer
	// one. Matrices are converted to the device's dtype. A tensor whose data
	// or shape does not fit is ErrTensor with its name.
	Load(l Layout, parts ...Tensor) (Weight, error)
	// NewBuffer allocates rows×cols float32, zeroed.
	NewBuffer(rows, cols int) (Buffer, error)
	// NewKV allocates a cache.
	NewKV(KVShape) (KV, error)
	// Begin starts a step. It fails with ErrStep, naming the field, on a
	// descriptor that contradicts itself; nothing has then been started.
	Begin(*Step) error
	Ops
	// End waits for the step and returns its first error: ErrStep for an
	// entry of the step that a weight or cache has no place for. Operations
	// after the first error do nothing.
	End() error
	// Read returns the first n elements of b in host memory. They are the
	// caller's to read and change until the next Begin, Read or Close. Only
	// outside a step.
	Read(b Buffer, n int) ([]float32, error)
	// Close frees everything the device made.
	Close() error
}

// Ops are the operations of a step; doc.go has their equations. They panic
// outside of Begin and End. Buffers may be taller than the rows in use; their
// columns are exact. out may not overlap an input.
type Ops interface {
	// Embed fills T rows of out [T, D] from tokens [V, D] and, unless nil,
	// positions [P, D]; each is a Matrix or a Float.
	Embed(out Buffer, tokens, positions Weight)
	// Norm adds delta (unless nil) to x and normalises into out; all [rows, D].
	Norm(out, x, delta Buffer, n Norm, rows int)
	// MatMul multiplies x [rows, K] by w [N, K] into out [rows, N]; bias Float [N] or nil.
	MatMul(out, x Buffer, w, bias Weight, rows int)
	// StoreKV rotates queries and keys of qkv [T, (H+2G)·E] (queries, keys,
	// values side by side) and stores keys and values of the layer.
	StoreKV(qkv Buffer, kv KV, layer int, r Rope, a Attn)
	// Attention reads the queries of qkv [T, (H+2G)·E] and writes out [T, H·E].
	Attention(out, qkv Buffer, kv KV, layer int, a Attn)
	// Activate writes out [rows, F] from x [rows, F], or [rows, 2F] when gated.
	Activate(out, x Buffer, f Act, gated bool, rows int)
	// Add adds y to x, both [rows, D].
	Add(x, y Buffer, rows int)
	// Gather writes the R wanted rows of x + delta (nil: x alone) to out [R, D].
	Gather(out, x, delta Buffer)
}
