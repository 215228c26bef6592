// Command recompute computes the figures of a run anew from its raw records.
//
//	go run ./results/cmd/recompute results/runs/latest           prints results.csv
//	go run ./results/cmd/recompute -check results/runs/latest    compares it with the one that is there
//
// With -check it prints the cells that differ and exits with 1 if there are any.
// The table may be of another version of the suite: the columns that both have
// are compared, and a warning names the others.
package main
