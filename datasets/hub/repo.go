package hub

import (
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind is the kind of a repository.
type Kind string

// The kinds of repositories.
const (
	Model   Kind = "model"
	Dataset Kind = "dataset"
)

// Repo names a repository at a revision.
type Repo struct {
	Kind     Kind
	ID       string // "org/name", or "name" for a few old ones
	Revision string // branch, tag or commit; "": main
}

// Files say which of a repository's files are meant, as patterns in
// path.Match's syntax on the whole path: "*" matches no "/".
type Files struct {
	Need []string // each must match at least one file
	Want []string // taken where there are any
}

var (
	idSyntax       = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,95})?$`)
	revisionSyntax = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}$`)
	commitSyntax   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	checksumSyntax = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
)

// ValidID reports whether id can name a repository: "org/name" or "name".
func ValidID(id string) bool {
	return idSyntax.MatchString(id) && !strings.Contains(id, "..") && !strings.Contains(id, "--")
}

func (r Repo) revision() string {
	if r.Revision == "" {
		return "main"
	}
	return r.Revision
}

func (r Repo) String() string { return fmt.Sprintf("%s %s at %s", r.Kind, r.ID, r.revision()) }

// named is the repository and one of its files, for errors.
func (r Repo) named(file string) string { return fmt.Sprintf("%s (file %s)", r, file) }

// check refuses what is no repository and what would lead out of the cache.
func (r Repo) check() error {
	if r.Kind != Model && r.Kind != Dataset {
		return fmt.Errorf("repository kind %q; want %s or %s", r.Kind, Model, Dataset)
	}
	if !ValidID(r.ID) {
		return fmt.Errorf("%q is no repository id; want org/name", r.ID)
	}
	if rev := r.revision(); !revisionSyntax.MatchString(rev) || path.Clean(rev) != rev || strings.Contains(rev, "..") {
		return fmt.Errorf("%q is no revision; want a branch, tag or commit", rev)
	}
	return nil
}

// folder is the repository's folder in the cache.
func (r Repo) folder() string {
	return string(r.Kind) + "s--" + strings.ReplaceAll(r.ID, "/", "--")
}

// api is the URL that lists the files.
func (r Repo) api(end *url.URL) string {
	return end.String() + "/api/" + string(r.Kind) + "s/" + r.ID + "/revision/" + url.PathEscape(r.revision())
}

// page is where people read about the repository.
func (r Repo) page(end *url.URL) string {
	u := *end
	u.User = nil
	if r.Kind == Dataset {
		return u.String() + "/datasets/" + r.ID
	}
	return u.String() + "/" + r.ID
}

// file is the URL of a file at a commit.
func (r Repo) file(end *url.URL, commit, name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	kind := ""
	if r.Kind == Dataset {
		kind = "/datasets"
	}
	return end.String() + kind + "/" + r.ID + "/resolve/" + commit + "/" + strings.Join(parts, "/")
}

// checkName refuses a file name that does not stay below its folder.
func checkName(name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' })
	if bad || path.Clean(name) != name || !filepath.IsLocal(name) || name == "." {
		return fmt.Errorf("%w: file name %q", ErrProtocol, name)
	}
	return nil
}

// matching returns the names that some pattern matches, in their order.
// Patterns of Need that match none are a MissingError.
func (f Files) matching(names []string) ([]string, error) {
	var out []string
	found := map[string]bool{}
	for _, name := range names {
		hit := false
		for _, patterns := range [][]string{f.Need, f.Want} {
			for _, p := range patterns {
				ok, err := path.Match(p, name)
				if err != nil {
					return nil, fmt.Errorf("file pattern %q: %w", p, err)
				}
				if ok {
					hit, found[p] = true, true
				}
			}
		}
		if hit {
			out = append(out, name)
		}
	}
	var missing []string
	for _, p := range f.Need {
		if !found[p] {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return out, &MissingError{Patterns: missing, Have: names}
	}
	return out, nil
}

// MissingError is an ErrNotFound: a repository or snapshot lacks files of Files.Need.
type MissingError struct {
	Patterns []string // those that match none
	Have     []string // every file that there is
}

func (e *MissingError) Error() string { return ErrNotFound.Error() + ": " + e.missing() }

// missing names the files alone.
func (e *MissingError) missing() string { return "file " + strings.Join(e.Patterns, ", ") }

// Unwrap makes it an ErrNotFound.
func (e *MissingError) Unwrap() error { return ErrNotFound }
