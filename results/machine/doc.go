// Package machine describes the machine that a run is made on, for the record
// that stands beside the figures.
//
// # Pipeline
//
//  1. Describe asks cpuid for the processor and its instruction sets, gopsutil
//     for memory, system and load, and the files below /proc and /sys for what
//     neither knows: the control group's limits, frequency and governor, and
//     whether this is a container.
//  2. What cannot be had stays zero and out of the JSON. What should be had and
//     is not comes back as a warning, a sentence, never as an error: a run is
//     not held up by its description.
//  3. Differences tells what makes figures from two machines incomparable.
package machine
