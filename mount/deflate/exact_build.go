package deflate

// tree finds the lengths of Huffman codes. Among those that are equally good it takes what zlib takes.
type tree struct {
	freq, len []int
	limit     int // of a code's length
	last      int // the highest symbol that has a code

	weight, depth, parent []int // of symbols, and after them of the inner nodes
	heap                  []int // of nodes, the lightest at 1
}

func newTree(symbols, limit int) *tree {
	return &tree{freq: make([]int, symbols), len: make([]int, symbols), limit: limit}
}

// used are the lengths up to the last symbol that has a code.
func (t *tree) used() []int { return t.len[:t.last+1] }

// costOf is how many bits the symbols take with codes of some lengths.
func (t *tree) costOf(lengths []int) (n int) {
	for s, f := range t.freq {
		n += f * lengths[s]
	}
	return n
}

// build finds the lengths.
func (t *tree) build() {
	n := len(t.freq)
	t.weight = make([]int, 2*n+1)
	t.depth, t.parent = make([]int, 2*n+1), make([]int, 2*n+1)
	copy(t.weight, t.freq)
	t.heap, t.last = []int{0}, -1
	for s, f := range t.freq {
		if f > 0 {
			t.heap, t.last = append(t.heap, s), s
		}
	}
	for len(t.heap) < 3 { // two codes at least, be they never used
		s := 0
		if t.last < 2 {
			t.last++
			s = t.last
		}
		t.weight[s] = 1
		t.heap = append(t.heap, s)
	}
	for i := (len(t.heap) - 1) / 2; i >= 1; i-- {
		t.sink(i)
	}
	t.shorten(t.pair())
}

// pair joins the two lightest nodes until one is left, and answers all of them, the root first and the lightest last.
func (t *tree) pair() []int {
	var order []int
	for node := len(t.freq); len(t.heap) > 2; node++ {
		a := t.heap[1]
		t.heap[1] = t.heap[len(t.heap)-1]
		t.heap = t.heap[:len(t.heap)-1]
		t.sink(1)
		b := t.heap[1]
		order = append(order, a, b)
		t.weight[node] = t.weight[a] + t.weight[b]
		t.depth[node] = max(t.depth[a], t.depth[b]) + 1
		t.parent[a], t.parent[b] = node, node
		t.heap[1] = node
		t.sink(1)
	}
	order = append(order, t.heap[1])
	for i, j := 0, len(order)-1; i < j; i, j = i+1, j-1 {
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// shorten gives each node its length, and brings those that are too long within the limit.
func (t *tree) shorten(order []int) {
	lengths := make([]int, len(t.weight))
	count := make([]int, t.limit+1)
	over := 0
	for _, node := range order[1:] {
		n := lengths[t.parent[node]] + 1
		if n > t.limit {
			n = t.limit
			over++
		}
		lengths[node] = n
		if node < len(t.freq) {
			count[n]++
			t.len[node] = n
		}
	}
	if over == 0 {
		return
	}
	for ; over > 0; over -= 2 {
		n := t.limit - 1
		for count[n] == 0 {
			n--
		}
		count[n]--
		count[n+1] += 2
		count[t.limit]--
	}
	i := len(order)
	for n := t.limit; n > 0; n-- {
		for left := count[n]; left > 0; {
			if i--; order[i] < len(t.freq) {
				t.len[order[i]] = n
				left--
			}
		}
	}
}

// sink moves a node down the heap to where it belongs.
func (t *tree) sink(i int) {
	node := t.heap[i]
	for j := 2 * i; j < len(t.heap); j *= 2 {
		if j+1 < len(t.heap) && t.lighter(t.heap[j+1], t.heap[j]) {
			j++
		}
		if t.lighter(node, t.heap[j]) {
			break
		}
		t.heap[i], i = t.heap[j], j
	}
	t.heap[i] = node
}

func (t *tree) lighter(a, b int) bool {
	return t.weight[a] < t.weight[b] || t.weight[a] == t.weight[b] && t.depth[a] <= t.depth[b]
}
