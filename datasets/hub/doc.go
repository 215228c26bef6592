// Package hub downloads models and datasets from the Hugging Face hub into the
// cache that Hugging Face's own library keeps, so that both share their files.
//
//  1. FromEnv reads the environment variables that the library reads too.
//  2. Client.Snapshot asks the hub which commit a revision is and which files it
//     has (Client.list), picks those that Files asks for, and fetches what the
//     cache lacks; offline, or when the hub cannot be reached, it makes do with
//     the cache (Client.Cached) or says what is missing.
//  3. Client.stat learns a file's length and checksum; Client.fetch downloads it
//     under a lock that other processes respect, goes on where an earlier attempt
//     was cut off, verifies the checksum, and renames it to its final name.
//  4. repoCache links the file into the snapshot and, once all are there, writes
//     the revision's commit.
//
// The cache, under HF_HUB_CACHE:
//
//	models--ORG--NAME/           (datasets--ORG--NAME for a dataset)
//	  refs/main                  the commit that the branch was at
//	  blobs/CHECKSUM             a file's bytes: sha256 of large files, git's sha1 of others
//	  blobs/CHECKSUM.incomplete  what has arrived of it
//	  snapshots/COMMIT/PATH      relative links to blobs
//	.locks/models--ORG--NAME/CHECKSUM.lock
//
// Whatever a server sends is checked before it becomes part of a path or is
// believed. The token goes to the endpoint's host alone, whatever redirects say,
// and is in no error and no log.
package hub
