// Package ratio tells by how much a framework is ahead of the best of the
// others, case by case, from runs that took turns.
//
// # Pipeline
//
//  1. Merge puts the results.csv of several runs into one table, each row under
//     the number of the round that it was measured in.
//  2. Read reads such a table, or a plain results.csv, as Rows.
//  3. Compare groups the rows by case, finds the best peer of each for one
//     figure and the ratio to it.
//  4. Report.Markdown and Report.CSV write what came out, with a Warning for
//     everything that makes a ratio doubtful.
//
// # Method
//
// The best peer of a case is the one with the best median over all rounds, of
// those that keep the contract between frameworks (results.Contract): a figure
// that breaks it is shown and marked, and is nobody's measure. Only where no peer
// keeps it the best of all is taken, and the ratio marked as not comparable. That
// it is chosen after the fact favours it: the ratio is rather too small.
//
// In each round that both sides have, the ratio of that round is taken: both
// ran on the machine as it was then, so its drift cancels. The ratio reported
// is the geometric mean of those ratios. Its 95% interval is Student's, of their
// logarithms (benchmath.AssumeNormal): with five rounds the interval of a
// median, which assumes nothing, would reach 94% at most and from the least to
// the greatest. One round has no interval.
//
// A framework whose answers have another median length than the base's, by more
// than results.LengthTolerance and in more rounds than chance would have it, breaks the contract as well.
//
// A pass in which requests failed, whose client was the limit, or whose prompts
// or answers have other lengths than the other side's is used and warned of.
package ratio
