package torture

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Mount mounts d at dir. It requires root and /dev/fuse. This process must not touch files in dir: a page fault
// that it has to serve itself blocks for ever.
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	// The kernel must not drop its cache because of a changed mtime. It changes with the agent's own writes,
	// and a write that failed would then vanish from the agent's memory map.
	server, err := fs.Mount(dir, &folder{disk: d}, &fs.Options{MountOptions: fuse.MountOptions{
		DirectMountStrict: true, FsName: "torture", Name: "torture", MaxWrite: 1 << 20, DisableXAttrs: true, ExplicitDataCacheControl: true,
	}})
	if err != nil {
		return nil, fmt.Errorf("mount at %s: %w", dir, err)
	}
	return func() error {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil { // a child of the killed agent may hold a file a moment longer
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
		server.Wait()
		return nil
	}, nil
}

var numbers atomic.Uint64

// folder is the root directory.
type folder struct {
	fs.Inode
	disk *Disk
}

var (
	_ fs.NodeLookuper  = (*folder)(nil)
	_ fs.NodeReaddirer = (*folder)(nil)
	_ fs.NodeCreater   = (*folder)(nil)
	_ fs.NodeUnlinker  = (*folder)(nil)
	_ fs.NodeRenamer   = (*folder)(nil)
	_ fs.NodeLinker    = (*folder)(nil)
	_ fs.NodeStatfser  = (*folder)(nil)
	_ fs.NodeFsyncer   = (*folder)(nil)
	_ fs.NodeGetattrer = (*folder)(nil)

	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

func (r *folder) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode = syscall.S_IFDIR | 0o700
	return 0
}

func (r *folder) child(ctx context.Context, name string, f *file, out *fuse.EntryOut) *fs.Inode {
	n := &node{disk: r.disk, file: f, name: name}
	n.attr(&out.Attr)
	return r.NewInode(ctx, n, fs.StableAttr{Mode: syscall.S_IFREG, Ino: f.number})
}

func (r *folder) named(name string) *file {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return r.disk.live[name]
}

func (r *folder) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	f := r.named(name)
	if f == nil {
		return nil, syscall.ENOENT
	}
	return r.child(ctx, name, f, out), 0
}

func (r *folder) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	var list []fuse.DirEntry
	for name, f := range r.disk.live {
		list = append(list, fuse.DirEntry{Mode: syscall.S_IFREG, Name: name, Ino: f.number})
	}
	return fs.NewListDirStream(list), 0
}

func (r *folder) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f := &file{number: 1000 + numbers.Add(1), mode: mode & 0o7777}
	if errno := r.disk.rename(f, name, ""); errno != 0 {
		return nil, nil, 0, errno
	}
	return r.child(ctx, name, f, out), nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (r *folder) Unlink(_ context.Context, name string) syscall.Errno {
	return r.disk.rename(nil, "", name)
}

func (r *folder) Rename(_ context.Context, name string, _ fs.InodeEmbedder, to string, _ uint32) syscall.Errno {
	return r.disk.rename(r.named(name), to, name)
}

func (r *folder) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n := target.(*node)
	if errno := r.disk.rename(n.file, name, ""); errno != 0 {
		return nil, errno
	}
	return r.child(ctx, name, n.file, out), 0
}

func (r *folder) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return r.disk.syncFolder()
}

func (r *folder) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	return r.disk.stat(out)
}

func (d *Disk) stat(out *fuse.StatfsOut) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	out.Bsize, out.Frsize, out.NameLen = pageSize, pageSize, 255
	out.Blocks = uint64(d.size / pageSize)
	out.Bfree = uint64(max(0, d.size-d.used) / pageSize)
	out.Bavail = out.Bfree
	return 0
}

// node is a file.
type node struct {
	fs.Inode
	disk *Disk
	file *file
	name string // at its lookup
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, into []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	m, errno := n.disk.read(n.file, into, at)
	return fuse.ReadResultData(into[:m]), errno
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	if errno := n.disk.write(n.file, n.name, data, at); errno != 0 {
		return 0, errno
	}
	return uint32(len(data)), 0
}

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.disk.sync(n.file, n.name)
}

func (n *node) attr(out *fuse.Attr) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	out.Ino, out.Mode, out.Nlink = n.file.number, syscall.S_IFREG|n.file.mode, 1
	out.Size, out.Blocks = uint64(n.file.live.size), uint64(n.file.live.bytes()/512)
	if written := n.file.written; !written.IsZero() {
		out.SetTimes(nil, &written, nil)
	}
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attr(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.disk.truncate(n.file, n.name, int64(size)); errno != 0 {
			return errno
		}
	}
	if mode, ok := in.GetMode(); ok {
		n.disk.mu.Lock()
		n.file.mode = mode & 0o7777
		n.disk.mu.Unlock()
	}
	n.attr(&out.Attr)
	return 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno { return n.disk.stat(out) }
