// Package testdata locates the files that tests read: those beside this file,
// and two folders outside the repository that a machine may lack.
package testdata
