-- Remove a process with all there is of it, or only if it is terminal, unchanged since, and has nothing to be relayed.
-- KEYS[1]  hash        the process
-- KEYS[2]  sorted set  "<process>|<step>" -> deadline, epoch ms
-- KEYS[3]  sorted set  "<process>|<attempt>|<step>" -> end of lease, epoch ms
-- KEYS[4]  list        the process's log
-- KEYS[5]  hash        step -> stored message
-- KEYS[6]  hash        business key -> live process
-- KEYS[7]  sorted set  entries of the lists of processes
-- KEYS[8]  sorted set  terminal process that is not archived -> its last change, epoch ms
-- KEYS[9]  sorted set  terminal process that is archived -> its last change, epoch ms
-- KEYS[10] sorted set  process of whose log something is to be relayed -> when, epoch ms
-- ARGV[1]  process     ARGV[2]  time of the last change, epoch ms, or "" for any
-- ARGV[3]  number of deadlines                   ARGV[4…] their members, then the members of leases
-- Returns  1 if the process was removed, 0 if not

local field = redis.call('HMGET', KEYS[1], 'state', 'identity')
local state, identity = field[1], field[2]
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if ARGV[2] ~= '' then
  local since = redis.call('ZSCORE', KEYS[8], ARGV[1]) or redis.call('ZSCORE', KEYS[9], ARGV[1])
  if not since or tonumber(since) ~= tonumber(ARGV[2]) or redis.call('ZSCORE', KEYS[10], ARGV[1]) then
    return 0
  end
end

-- Reads of the keys that may be written: a key of a wrong type is an error here, before the first write.
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('ZCARD', KEYS[7])
redis.call('ZCARD', KEYS[10])
local business_key = identity and string.sub(identity, 47)
local holder = business_key and redis.call('HGET', KEYS[6], business_key)

-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('ZREM', KEYS[2], '') and may('HDEL', KEYS[6], '') and may('DEL', KEYS[1])) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

local first_lease = 4 + ARGV[3]
for i = 4, first_lease - 1 do
  redis.call('ZREM', KEYS[2], ARGV[i])
end
for i = first_lease, #ARGV do
  redis.call('ZREM', KEYS[3], ARGV[i])
end
if holder == ARGV[1] then
  redis.call('HDEL', KEYS[6], business_key)
end
if state and identity then
  local class, position = string.sub(state, 1, 1), string.sub(identity, 25, 46)
  redis.call('ZREM', KEYS[7], 't' .. class .. string.sub(identity, 1, 8) .. position)
  redis.call('ZREM', KEYS[7], 'u' .. class .. string.sub(identity, 9, 16) .. position)
  redis.call('ZREM', KEYS[7], 'a-' .. string.sub(identity, 17, 24) .. position)
end
redis.call('ZREM', KEYS[8], ARGV[1])
redis.call('ZREM', KEYS[9], ARGV[1])
redis.call('ZREM', KEYS[10], ARGV[1])
redis.call('DEL', KEYS[4], KEYS[5], KEYS[1])
return 1
