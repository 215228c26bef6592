// Package hub downloads models and datasets from the Hugging Face hub into its
// standard cache.
package hub
