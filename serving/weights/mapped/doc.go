// Package mapped maps the files of a checkpoint into memory and keeps what has
// been read of them from piling up in the process.
//
//  1. Open maps a regular file for reading; nothing is copied.
//  2. A reader takes parts of Bytes, and tells Lend of each.
//  3. Whenever so many bytes have been lent, Lend gives all of the file's pages
//     back (madvise). A part that is read again comes from the page cache, or
//     from the disk, so that a part stays valid until Close, and what the
//     process holds of a file of any size is bounded.
//
// A file is trusted not to be truncated by someone else while it is mapped: the
// system would then end the process with SIGBUS.
package mapped
