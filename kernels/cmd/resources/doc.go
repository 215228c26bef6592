// Command resources writes kernels/cuda/resources.csv: what nvcc makes of the CUDA
// kernels, by architecture.
//
//	make cuda-resources
//
//	go run ./kernels/cmd/resources -objects bin/obj/cuda -out kernels/cuda/resources.csv
//
// It reads what kernels/cuda/build.sh has left (package resources) and exits with 1
// where the library was not built, or not for all architectures.
package main
