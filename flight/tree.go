package flight

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight = 8 // C2SP tlog-tiles
	tileWidth  = 1 << tileHeight
)

// tree is the Merkle tree of the log (RFC 6962) in memory: of each tile level
// only the open tile. A tile that fills up is handed to full and its root goes
// one level up, so the tree costs a few kilobytes at any size.
type tree struct {
	size int64
	// edge[L] holds the hashes of the open tile at level L, fewer than 256.
	edge [][]tlog.Hash
	full func(level int, n int64, hashes []tlog.Hash) error
}

// add appends the leaf hash of record number t.size.
func (t *tree) add(h tlog.Hash) error {
	t.size++
	for level := 0; ; level++ {
		if level == len(t.edge) {
			t.edge = append(t.edge, make([]tlog.Hash, 0, tileWidth))
		}
		t.edge[level] = append(t.edge[level], h)
		if len(t.edge[level]) < tileWidth {
			return nil
		}
		if err := t.full(level, t.openTile(level)-1, t.edge[level]); err != nil {
			return err
		}
		h = subtree(t.edge[level])
		t.edge[level] = t.edge[level][:0]
	}
}

// openTile returns the number of the tile at level that is not full yet.
func (t *tree) openTile(level int) int64 { return t.size >> (tileHeight * (level + 1)) }

// root returns the root hash. The open tiles alone determine it: their hashes
// are the roots of all complete subtrees, the rightmost and smallest at level 0.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return sha256.Sum256(nil)
	}
	var root tlog.Hash
	empty := true
	for _, open := range t.edge {
		for n := len(open); n > 0; {
			width := n & -n
			h := subtree(open[n-width : n])
			if empty {
				root, empty = h, false
			} else {
				root = tlog.NodeHash(h, root)
			}
			n -= width
		}
	}
	return root
}

// subtree returns the root over a power of two of hashes.
func subtree(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	half := len(hashes) / 2
	return tlog.NodeHash(subtree(hashes[:half]), subtree(hashes[half:]))
}

// tileName returns the path of a tile below the log directory, as C2SP
// tlog-tiles names it: width 256 is the full tile, less is a partial one.
func tileName(level int, n int64, width int) string {
	name := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		name = fmt.Sprintf("x%03d/%s", n%1000, name)
	}
	name = fmt.Sprintf("tile/%d/%s", level, name)
	if width < tileWidth {
		name += fmt.Sprintf(".p/%d", width)
	}
	return filepath.FromSlash(name)
}

// writeTile stores a tile. It is not synced: while the lines exist a tile can
// be computed again, and before lines are dropped their tiles are synced.
func writeTile(dir string, level int, n int64, hashes []tlog.Hash) error {
	path := filepath.Join(dir, tileName(level, n, len(hashes)))
	data := joinHashes(hashes)
	err := os.WriteFile(path, data, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		err = os.WriteFile(path, data, 0o644)
	}
	return err
}

func joinHashes(hashes []tlog.Hash) []byte {
	data := make([]byte, 0, len(hashes)*tlog.HashSize)
	for _, h := range hashes {
		data = append(data, h[:]...)
	}
	return data
}

// readTile reads the first width hashes of a tile, from the full tile if it
// exists and else from the partial one of that width.
func readTile(dir string, level int, n int64, width int) ([]tlog.Hash, error) {
	data, err := os.ReadFile(filepath.Join(dir, tileName(level, n, tileWidth)))
	if width < tileWidth && errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile(filepath.Join(dir, tileName(level, n, width)))
	}
	if err != nil {
		return nil, err
	}
	if len(data) < width*tlog.HashSize || len(data) > tileWidth*tlog.HashSize {
		return nil, fmt.Errorf("%s has %d bytes", tileName(level, n, width), len(data))
	}
	return splitHashes(data[:width*tlog.HashSize]), nil
}

func splitHashes(data []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(data)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], data[i*tlog.HashSize:])
	}
	return hashes
}

// loadEdge reads the open tiles of a tree of the given size. The caller
// compares the root: that authenticates every hash that was read.
func loadEdge(dir string, size int64) (*tree, error) {
	t := &tree{size: size}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		open := make([]tlog.Hash, 0, tileWidth)
		if width := int(size >> (tileHeight * level) % tileWidth); width > 0 {
			hashes, err := readTile(dir, level, t.openTile(level), width)
			if err != nil {
				return nil, err
			}
			open = append(open, hashes...)
		}
		t.edge = append(t.edge, open)
	}
	return t, nil
}

// tileReader reads any hash of a tree for package tlog, with the open tiles
// from memory and the full ones from disk. missing, if set, computes a level 0
// tile that cannot be read.
type tileReader struct {
	dir     string
	tree    *tree
	missing func(n int64) ([]tlog.Hash, error)
	cache   map[tlog.Tile][]byte
}

// ReadHashes implements tlog.HashReader.
func (r *tileReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		t := tlog.TileForIndex(tileHeight, index)
		data, err := r.tile(t)
		if err != nil {
			return nil, err
		}
		if hashes[i], err = tlog.HashFromTile(t, data, index); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

func (r *tileReader) tile(t tlog.Tile) ([]byte, error) {
	if t.N == r.tree.openTile(t.L) && t.L < len(r.tree.edge) {
		return joinHashes(r.tree.edge[t.L]), nil
	}
	key := tlog.Tile{L: t.L, N: t.N}
	if data, ok := r.cache[key]; ok {
		return data, nil
	}
	hashes, err := readTile(r.dir, t.L, t.N, tileWidth)
	if err != nil {
		hashes, err = r.compute(t, err)
	}
	if err != nil {
		return nil, err
	}
	if r.cache == nil {
		r.cache = make(map[tlog.Tile][]byte)
	}
	r.cache[key] = joinHashes(hashes)
	return r.cache[key], nil
}

// compute makes a full tile again: from lines at level 0, from the level below
// elsewhere.
func (r *tileReader) compute(t tlog.Tile, cause error) ([]tlog.Hash, error) {
	if t.L == 0 {
		if r.missing == nil {
			return nil, cause
		}
		return r.missing(t.N)
	}
	hashes := make([]tlog.Hash, tileWidth)
	for i := range hashes {
		below := tlog.Tile{H: tileHeight, L: t.L - 1, N: t.N<<tileHeight + int64(i), W: tileWidth}
		data, err := r.tile(below)
		if err != nil {
			return nil, err
		}
		hashes[i] = subtree(splitHashes(data))
	}
	return hashes, nil
}

// sameHashes reports whether a stored tile holds exactly these hashes.
func sameHashes(dir string, level int, n int64, hashes []tlog.Hash) bool {
	data, err := os.ReadFile(filepath.Join(dir, tileName(level, n, len(hashes))))
	return err == nil && bytes.Equal(data, joinHashes(hashes))
}
