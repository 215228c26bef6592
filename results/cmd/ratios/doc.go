// Command ratios prints by how much a framework is ahead of the best of the
// others, from tables of runs that took turns.
//
//	go run ./results/cmd/ratios results/baseline/cpu/results.csv
//	go run ./results/cmd/ratios -metric p2ft_p50_s -format csv results/runs/latest/results.csv
//
// It reads results.csv of a comparison, whose rows have a round, or of a run
// with several frameworks, where passes of the same number are compared. The
// method is in go doc servebench/results/ratio.
package main
