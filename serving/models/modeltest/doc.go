// Package modeltest has a device for tests of what runs on one that draws tokens and
// keeps steps (kernels.Drawer, kernels.Grapher), as a GPU does: a Queue, made of any
// device that does neither.
//
//  1. What is called between Begin and End or Submit is noted and done later: of a
//     step that was submitted when its ids are asked for, so that whatever depends on
//     an order that nobody promised comes out wrong.
//  2. A step then takes the tokens that the one before it drew (Step.From), is done
//     on the device underneath, and its tokens are drawn by package sample.
//  3. Capture keeps the notes of a step, and Decode plays them again.
//
// It is as strict as a device may be: what Drawn returned is overwritten by the next
// Drawn, a token can be taken from the step right before alone, and while steps are
// under way nothing can be read.
package modeltest
