-- How an entry becomes a dead letter. This is not a script of its own: it stands, after `fields`, before the scripts
-- that give entries up. Each published field becomes raw.NAME. If there are more than 3,500 of them, or one is named
-- `packed`, one field, raw.packed, holds all of them.
-- `why` has the fields that say why; the dead letter's are added to them. `deliveries` are those that count as
-- attempts.
local function dead_letter_of(why, fields, retried, deliveries)
  local function add(name, value)
    why[#why + 1], why[#why + 2] = name, value
  end
  local published, added = split_fields(fields, retried)
  add('attempts', (added.attempts or 0) + deliveries)
  local now = redis.call('TIME')
  add('failed', added.failed or string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
  for _, name in ipairs({'replays', 'edited'}) do
    if added[name] then add(name, added[name]) end
  end
  if #published > TOO_MANY or value_index(published, 'packed') then
    add('raw.packed', cmsgpack.pack(published))
  else
    for i = 1, #published, 2 do add('raw.' .. published[i], published[i + 1]) end
  end
  return why
end

