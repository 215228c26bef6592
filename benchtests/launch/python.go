package launch

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Environment returns the variables that make a Python environment the one in
// use, as its activate script does: what to add to a Command and what to drop.
// The folder has to hold an environment.
func Environment(dir string) (add, drop []string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, nil, err
	}
	bin := filepath.Join(dir, "bin")
	if _, err := os.Stat(filepath.Join(bin, "python3")); err != nil {
		return nil, nil, fmt.Errorf("%s is no Python environment (make one with python3 -m venv): %w", dir, err)
	}
	path := bin
	if old := os.Getenv("PATH"); old != "" {
		path += string(os.PathListSeparator) + old
	}
	return []string{"VIRTUAL_ENV=" + dir, "PATH=" + path}, []string{"PYTHONHOME"}, nil
}

// LookPath finds a program in a Python environment's bin; the environment need
// not have it. A dir of "" is none.
func LookPath(dir, program string) (path string, ok bool) {
	if dir == "" {
		return "", false
	}
	path, err := exec.LookPath(filepath.Join(dir, "bin", program))
	if err != nil {
		return "", false
	}
	path, err = filepath.Abs(path)
	return path, err == nil
}
