package resources

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Machine is a kernel in machine code, as cuobjdump writes it.
type Machine struct {
	Symbol, Arch string
	Body         string // an instruction a line
}

var (
	codeLine     = regexp.MustCompile(`^\s*code for (sm_\w+)`)
	functionLine = regexp.MustCompile(`^\s*Function : (\S+)`)
	instruction  = regexp.MustCompile(`^\s*/\*[0-9a-f]+\*/\s+(\S.*?);`)
)

// ReadSASS returns the kernels that `cuobjdump -sass` has written.
func ReadSASS(r io.Reader) ([]Machine, error) {
	var all []Machine
	var body strings.Builder
	arch := ""
	end := func() {
		if len(all) > 0 {
			all[len(all)-1].Body += body.String()
		}
		body.Reset()
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m := codeLine.FindStringSubmatch(line); m != nil {
			arch = m[1]
		} else if m := functionLine.FindStringSubmatch(line); m != nil {
			if arch == "" {
				return nil, fmt.Errorf("line %d: function %s of no architecture", n, m[1])
			}
			end()
			all = append(all, Machine{Symbol: m[1], Arch: arch})
		} else if m := instruction.FindStringSubmatch(line); m != nil {
			body.WriteString(m[1])
			body.WriteByte('\n')
		}
	}
	end()
	return all, lines.Err()
}

// Disassemble returns the machine code of one source file's kernels. The error is
// of os.ErrNotExist where the toolkit has no cuobjdump.
func (b *Build) Disassemble(dir, file string) ([]Machine, error) {
	tool := filepath.Join(b.Toolkit, "bin", "cuobjdump")
	if _, err := os.Stat(tool); err != nil {
		return nil, err
	}
	cmd := exec.Command(tool, "-sass", filepath.Join(dir, strings.TrimSuffix(file, ".cu")+".o"))
	// It looks for nvdisasm in PATH.
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(b.Toolkit, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	all, err := ReadSASS(out)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, stderr.String())
	}
	return all, nil
}
