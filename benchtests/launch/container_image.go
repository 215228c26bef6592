package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// image is one that the daemon has.
type image struct {
	reference string // with its registry
	digest    string // in the registry; of one that was built, its id
}

// image builds or pulls the command's image, unless it is there.
func (d *daemon) image(ctx context.Context, cmd *ContainerCommand) (image, error) {
	if cmd.Build != nil {
		return d.build(ctx, cmd)
	}
	ref, err := cmd.reference(d.provider.Config().Config.HubImageNamePrefix)
	if err != nil {
		return image{}, err
	}
	found, err := d.inspect(ctx, ref)
	if err == nil || !errdefs.IsNotFound(err) {
		return found, err
	}
	if err := d.pull(ctx, ref, cmd.Progress); err != nil {
		if ctx.Err() != nil {
			return image{}, context.Cause(ctx)
		}
		return image{}, fmt.Errorf("%w: %s: %w\nif the name is right: `docker login` for one that is not public, `docker load` where there is no network, -image for another; %s",
			ErrPull, reference.FamiliarString(ref), err, elsewhere)
	}
	return d.inspect(ctx, ref)
}

// inspect returns an image that the daemon has.
func (d *daemon) inspect(ctx context.Context, ref reference.Named) (image, error) {
	info, err := d.api.ImageInspect(ctx, ref.String())
	if err != nil {
		return image{}, fmt.Errorf("look for image %s: %w", reference.FamiliarString(ref), err)
	}
	found := image{reference: ref.String(), digest: info.ID}
	for _, known := range info.RepoDigests {
		// The same image may have come from several registries.
		named, err := reference.ParseNormalizedNamed(known)
		if digested, ok := named.(reference.Digested); err == nil && ok && named.Name() == ref.Name() {
			found.digest = digested.Digest().String()
		}
	}
	return found, nil
}

// pull pulls an image and tells how far it is.
func (d *daemon) pull(ctx context.Context, ref reference.Named, progress io.Writer) error {
	var opts client.ImagePullOptions
	// What `docker login` stored; an image that needs none has none.
	if _, auth, err := testcontainers.DockerImageAuth(ctx, ref.String()); err == nil {
		if opts.RegistryAuth, err = authconfig.Encode(auth); err != nil {
			return err
		}
	}
	stream, err := d.api.ImagePull(ctx, ref.String(), opts)
	if err != nil {
		return err
	}
	defer stream.Close()
	p := pullProgress{out: progress, name: reference.FamiliarString(ref), every: pullEvery, layers: map[string]*layer{}}
	for message, err := range stream.JSONMessages(ctx) {
		if err != nil {
			return err
		}
		if message.Error != nil {
			return message.Error
		}
		p.take(message)
	}
	p.tell(true)
	return nil
}

// pullEvery is how often a line on a pull is written: a reader of a log wants
// few, one who waits wants to see that it goes on.
const pullEvery = 2 * time.Second

// layer is how far a layer of a pull is.
type layer struct {
	got, size int64 // bytes; size is 0 until it is known
	done      bool  // unpacked, or there before
}

// pullProgress turns a daemon's messages, many a second and layer, into lines.
type pullProgress struct {
	out    io.Writer
	name   string
	every  time.Duration
	layers map[string]*layer
	told   time.Time
	last   string
}

func (p *pullProgress) take(m jsonstream.Message) {
	if m.ID != "" {
		p.layer(m)
		p.tell(false)
	}
}

func (p *pullProgress) layer(m jsonstream.Message) {
	switch m.Status {
	case "Pulling fs layer", "Waiting", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete", "Already exists":
	default: // "Pulling from library/x", whose id is the tag
		return
	}
	l := p.layers[m.ID]
	if l == nil {
		l = &layer{}
		p.layers[m.ID] = l
	}
	switch m.Status {
	case "Downloading":
		if m.Progress != nil {
			l.got, l.size = m.Progress.Current, max(m.Progress.Total, m.Progress.Current)
		}
	case "Verifying Checksum", "Download complete", "Extracting":
		l.got = l.size
	case "Pull complete", "Already exists":
		l.got, l.done = l.size, true
	}
}

// tell writes a line if it says something new, and the last one is long enough ago.
func (p *pullProgress) tell(last bool) {
	if len(p.layers) == 0 || !last && time.Since(p.told) < p.every {
		return
	}
	var got, size int64
	done, unknown := 0, ""
	for _, l := range p.layers {
		got, size = got+l.got, size+l.size
		if l.done {
			done++
		} else if l.size == 0 {
			unknown = "at least " // a layer that waits has not told its size
		}
	}
	line := fmt.Sprintf("pulling %s: %d of %d layers, %s of %s%s", p.name, done, len(p.layers),
		units.BytesSize(float64(got)), unknown, units.BytesSize(float64(size)))
	if line == p.last {
		return
	}
	p.told, p.last = time.Now(), line
	fmt.Fprintln(p.out, line)
}

// build builds the command's image. What did not change since the last time
// comes from the daemon's cache.
func (d *daemon) build(ctx context.Context, cmd *ContainerCommand) (image, error) {
	ref, err := cmd.reference("")
	if err != nil {
		return image{}, err
	}
	tagged, ok := ref.(reference.Tagged)
	if !ok {
		return image{}, fmt.Errorf("image %s is built here: it needs a tag, and no digest", cmd.Image)
	}
	args := map[string]*string{}
	for name, value := range cmd.Build.Args {
		args[name] = &value
	}
	fmt.Fprintf(cmd.Progress, "building %s from %s\n", reference.FamiliarString(ref), cmd.Build.Dockerfile)
	var output tail
	_, err = d.provider.BuildImage(ctx, &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		Context: cmd.Build.Context, Dockerfile: cmd.Build.Dockerfile, BuildArgs: args,
		Repo: ref.Name(), Tag: tagged.Tag(), KeepImage: true,
		BuildLogWriter:       io.MultiWriter(&output, cmd.Progress),
		BuildOptionsModifier: func(o *client.ImageBuildOptions) { o.Target = cmd.Build.Target },
	}})
	if err != nil && ctx.Err() != nil {
		return image{}, context.Cause(ctx)
	}
	if err != nil {
		return image{}, fmt.Errorf("%w: %s from %s: %w; %s\nlast lines of the build:\n%s", ErrBuild, cmd.Image, cmd.Build.Dockerfile, err, elsewhere, output.String())
	}
	found, err := d.inspect(ctx, ref)
	if err != nil {
		return image{}, errors.Join(ErrBuild, err)
	}
	return found, nil
}

// tail keeps the end of what is written to it.
type tail struct{ data []byte }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if len(t.data) > 2*tailBytes {
		t.data = bytes.Clone(t.data[len(t.data)-tailBytes:])
	}
	return len(p), nil
}

// String returns its last lines.
func (t *tail) String() string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(t.data), "�")), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
