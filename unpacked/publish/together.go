package publish

import "iter"

// Both is what two sorted streams have at one place; nil where one has nothing
// there.
type Both[T any] struct{ A, B *T }

// Together walks two sorted streams in step; compare is their order. It ends
// with the first error of either.
func Together[T any](a, b iter.Seq2[T, error], compare func(x, y *T) int) iter.Seq2[Both[T], error] {
	return func(yield func(Both[T], error) bool) {
		nextA, stopA := pulled(a)
		defer stopA()
		nextB, stopB := pulled(b)
		defer stopB()
		x, err := nextA()
		var y *T
		if err == nil {
			y, err = nextB()
		}
		for err == nil && (x != nil || y != nil) {
			at := Both[T]{x, y}
			if x != nil && y != nil {
				switch order := compare(x, y); {
				case order < 0:
					at.B = nil
				case order > 0:
					at.A = nil
				}
			}
			if !yield(at, nil) {
				return
			}
			if at.A != nil {
				x, err = nextA()
			}
			if at.B != nil && err == nil {
				y, err = nextB()
			}
		}
		if err != nil {
			yield(Both[T]{}, err)
		}
	}
}

// pulled pulls items one by one; nil is the end.
func pulled[T any](items iter.Seq2[T, error]) (next func() (*T, error), stop func()) {
	pull, stop := iter.Pull2(items)
	return func() (*T, error) {
		it, err, ok := pull()
		if !ok || err != nil {
			return nil, err
		}
		return &it, nil
	}, stop
}
