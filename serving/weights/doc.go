// Package weights opens model checkpoints.
package weights
